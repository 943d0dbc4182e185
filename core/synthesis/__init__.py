"""Synthetic heads: random people whose every number is known. `heads.sample_head` is the way in.

What each file holds, from the person to the files on disk:

    people      who somebody is: a latent of independent normal coordinates, and every factor that follows, as labels
    captions    the labels in words
    painting    a skin by pigments and brushes alone, the first and simplest painter
    features    where brows, freckles, scars and make-up are, drawn once for colour and for relief
    skins       the albedo map: CC0 skins mixed region by region, features coloured
    wrinkles    how deep lines and folds are
    relief      displacement, specular albedo, roughness, normals
    heads       all of these together: one person complete
    photo       pictures of people with the ground truth of every pixel
    shards      many people as files, made by many processes or machines, read back for training
"""
