"""Synthetic heads: random people whose every number is known. What each file holds, from the person to the files:

people: who somebody is, a latent of independent normal coordinates, and every factor that follows from it as a label.
captions: the labels in words. painting: a skin by pigments and brushes alone, the first and simplest painter. features:
where brows, freckles, scars and make-up are, drawn once for colour and relief. skins: the albedo map, CC0 skins mixed
and features coloured. wrinkles: how deep lines and folds are. relief: displacement, specular albedo, roughness and
normals. heads: all of these together, one person complete. photo: pictures of them with the ground truth of every
pixel. shards: many of them as files, made by many processes or machines, and read back for training.

`heads.sample_head` is the way in.
"""
