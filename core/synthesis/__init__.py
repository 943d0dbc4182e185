"""Synthetic heads: random people whose every number is known. What each file holds: `heads` first.

painting: a skin by pigments and brushes alone. photo: pictures of random people.
"""
