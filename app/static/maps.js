// The maps of a head's skin, one by one: which a head has, and each as a picture to look at. Without three.js.

// In the order of the panel. picture: of what is read from the file, RGBA bytes of equal size -> RGBA bytes.
const PICTURES = {
  albedo: { label: "Base colour", picture: ([colours]) => colours },
  normal: { label: "Normals", picture: ([normals]) => normals },
  diffuse_normal: { label: "Diffuse normals", picture: ([normals]) => normals, blur: true },
  specular: { label: "Specular", picture: ([shine]) => grey(shine, 0) },
  roughness: { label: "Roughness", picture: ([packed]) => grey(packed, 1) },
  translucency: { label: "Translucency", picture: ([packed]) => grey(packed, 2) },
  occlusion: { label: "Occlusion", picture: ([packed]) => grey(packed, 0) },
  wrinkles: { label: "Wrinkles", picture: (layers) => combineSlopes(layers) },
};
export const MAPS = Object.fromEntries(Object.entries(PICTURES).map(([map, { label }]) => [map, label]));
// A picture to look at need not be larger.
const LARGEST_PX = 4096;
// Of a map's side: how far normals are blurred for diffuse light, about what the shader does on the face.
const BLUR = 1 / 128;

/** One channel of RGBA bytes, as grey. */
export function grey(data, channel) {
  const picture = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i += 4) {
    picture.fill(data[i + channel], i, i + 3);
    picture[i + 3] = 255;
  }
  return picture;
}

/** Normal maps laid over each other: their slopes are added. */
export function combineSlopes(layers) {
  const picture = new Uint8ClampedArray(layers[0].length);
  for (let i = 0; i < picture.length; i += 4) {
    let [x, y] = [0, 0];
    for (const data of layers) {
      const z = Math.max(data[i + 2] / 127.5 - 1, 0.12);
      x += (data[i] / 127.5 - 1) / z;
      y += (data[i + 1] / 127.5 - 1) / z;
    }
    const length = Math.hypot(x, y, 1);
    picture[i] = 127.5 * (x / length + 1);
    picture[i + 1] = 127.5 * (y / length + 1);
    picture[i + 2] = 127.5 * (1 / length + 1);
    picture[i + 3] = 255;
  }
  return picture;
}

/** The maps that a material of skin has: name -> the textures that it is made of. wrinkles: textures, or null. */
export function mapsOf(material, wrinkles = null) {
  const translucent = material.userData?.likeness?.translucency === "metallicRoughness.b";
  const textures = {
    albedo: [material.map],
    normal: [material.normalMap],
    diffuse_normal: [material.normalMap],
    specular: [material.specularColorMap],
    roughness: [material.roughnessMap],
    translucency: [translucent ? material.roughnessMap : null],
    occlusion: [material.aoMap],
    wrinkles: wrinkles ?? [null],
  };
  return new Map(Object.entries(textures).filter(([, sources]) => sources.every(Boolean)));
}

function pixelsOf(image, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** A map of a head (as readHead returns) as a canvas. */
export function pictureOf(head, map) {
  const images = head.maps.get(map).map((texture) => texture.image);
  const scale = Math.min(1, LARGEST_PX / Math.max(images[0].width, images[0].height));
  const [width, height] = [images[0].width, images[0].height].map((side) => Math.round(side * scale));
  const { picture, blur } = PICTURES[map];
  const data = picture(images.map((image) => pixelsOf(image, width, height)));
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(data, width, height), 0, 0);
  if (blur) {
    context.filter = `blur(${width * BLUR}px)`;
    context.drawImage(canvas, 0, 0);
  }
  return canvas;
}

/** Give a canvas's memory back at once. */
export function freePicture(canvas) {
  canvas.width = canvas.height = 0;
}
