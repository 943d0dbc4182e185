"""Language-guided changes of heads: words in, a changed `Avatar` out.

A prompt is read into clauses (`prompts`, with the table of `words`). Each becomes a change of the head's attributes
(`attributes`): by the table, by the text-conditioned `mapper`, by global `directions` of a text-image model
(`text_image`), or by `optimise` through the renderer. The sum becomes a change of the editable latent (`latents`),
which is carried over to the head's own skin and shape (`skin`, `surface`). `edit` puts it together and is what the app
uses.

`pairs` and `text_image_training` make the bundled model; `oracles`, `suite` and `evaluation` judge edits, by means that
guide none.

Imports go ``app -> editing -> core``, never back. Inside editing a module imports only from modules above it, or before
it in its row, in this list, which `tests/test_imports.py` reads and enforces:

    attributes, concept_table, words, prompts, views
    latents, surface, skin, text_image
    pairs, text_image_training, directions, mapper, optimise
    edit
    oracles, suite, evaluation
"""
