"""The 3D face: geometry, images and estimation, with no user interface and no text.

Conventions, stated once for the whole project:

Frames and units
    Right-handed head frame: +Y up, face towards +Z, +X towards the head's own *left* ear; metres.
    The origin lies between the centres of the eyeballs of the mean head.
    Cameras follow OpenCV: +X right, +Y down, +Z forward; pixel centres at half integers, so the
    top-left corner of an image is (0, 0) and the centre of its first pixel (0.5, 0.5).
    ``T_camera_head`` maps head coordinates to camera coordinates (a 4x4 matrix, last row 0 0 0 1).
    A foreign convention is converted in the one file that touches the foreign library.

Names
    Names carry frame and unit: ``T_camera_head``, ``focal_px``, ``yaw_deg``, ``error_mm``,
    ``albedo_linear``. Angles are radians, degrees only in the UI and the CLI.
    "Left" and "right" are the person's own, as in the ARKit names.

Images and colour
    Images are ``[B, 3, H, W]`` float in 0..1. Shading happens in linear light; PNG and JPEG hold
    sRGB. A name that ends in ``_linear`` is linear light, ``_srgb`` is display-encoded.
    Texture coordinates have their origin bottom-left, as in OBJ; row 0 of a texture image is the
    *top* (v = 1). The glTF writer alone flips.

Sizes
    ``B V F L K E J H W U``: batch, vertices, faces, landmarks, shape coefficients, expressions,
    joints, image height and width, texture side.

Imports go ``app -> editing -> core``, never back. Inside core a module imports only from modules
above it, or before it in its row, in this list, which `tests/test_imports.py` reads and enforces:

    errors, color, mesh, materials, camera, checkpoints, photo
    head, atlas, flame, raster, shading, occlusion, environment, render, render_pytorch3d, lighting, landmarks, quality
    synthesis, albedo
    facescape, surface_transfer
    key_expressions
    fitting, reflectance, displacement, texture, generation
    avatar
    transfer, detail, foreign_detail
    pipeline
    fine_mesh, map_files, gltf, export, evaluation
"""

import os

# OpenMP's threads spin while they wait. With more busy threads than cores (a browser, mediapipe's own pool, other
# visitors) spinning ones keep the working one from its core: 0.3 s became 14 s on two cores. Read when torch loads,
# so it has to stand here, before anything in this package imports it; an explicit setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
