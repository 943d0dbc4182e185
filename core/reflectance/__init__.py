"""How a skin takes light, from a picture of it under one light: AvatarMe++'s maps (Lattas et al. 2021).

network     a coarse network that sees the whole map and a fine one that sees tiles of it
random_light  synthetic heads under random light, in UV space: what the networks learn from
training    the loop, with the photorealistic rendering loss
estimate    a lit map in, albedos, normals, displacement and the rest out; tiled, of any size
scores      errors on held-out heads, beside those of simpler ways
"""
