"""What people touch: the page (`ui`, `handlers`, `sessions`, `protocol`, `static/`) and the command line (`cli`).

`ui` arranges, `handlers` act, `sessions` keep a visitor's files apart from everyone else's, and
`protocol` states the messages that the page and the three.js viewer exchange.
"""
