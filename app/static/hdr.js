// A visitor's own surroundings: an equirectangular picture in Radiance's format (.hdr, RGBE; Ward 1991). Here is what can
// be said of one without three.js: whether it is worth decoding, and a smaller one of it.

// Larger ones would take gigabytes to decode, and nobody sees the difference on a head.
export const LARGEST = { width: 4096, height: 2048, bytes: 64 * 2 ** 20 };
// What is kept of them: reflections on skin are no sharper.
export const KEPT_WIDTH = 1024;
// Pictures have no common unit: all are brought to the mean of the presets' surroundings.
export const MEAN_LUMINANCE = 0.4;

const LUMINANCE = [0.2126, 0.7152, 0.0722];
const HEADER_BYTES = 8192;

const mebibytes = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MB`;

/**
 * The size of a picture from its first bytes: {width, height}. bytes: of the whole file. Throws an Error with a sentence
 * where it is none or is too large.
 */
export function checkHdr(name, bytes, start) {
  if (bytes > LARGEST.bytes) {
    throw new Error(
      `${name} has ${mebibytes(bytes)}; surroundings may have ${mebibytes(LARGEST.bytes)} at most. Save it smaller, for example at 2048 × 1024.`,
    );
  }
  const text = String.fromCharCode(...start.subarray(0, HEADER_BYTES));
  if (!/^#\?\S+/.test(text)) {
    throw new Error(
      `${name} is no .hdr picture (Radiance RGBE): its first line is not "#?RADIANCE". Choose another file.`,
    );
  }
  const format = /^\s*FORMAT=(\S+)\s*$/m.exec(text)?.[1];
  if (format !== "32-bit_rle_rgbe") {
    const found = format ? `stores ${format}` : "does not say how it stores colours";
    throw new Error(`${name} ${found}; surroundings must be in 32-bit_rle_rgbe. Save it as RGBE and choose it again.`);
  }
  const size = /^\s*-Y\s+(\d+)\s+\+X\s+(\d+)\s*$/m.exec(text);
  if (!size) {
    throw new Error(`${name} does not give its size as "-Y height +X width", so it cannot be read. Save it anew.`);
  }
  const [height, width] = size.slice(1).map(Number);
  if (width > LARGEST.width || height > LARGEST.height || width < 2 || height < 1) {
    throw new Error(
      `${name} is ${width} × ${height} pixels; surroundings may be ${LARGEST.width} × ${LARGEST.height} at most. Save it smaller.`,
    );
  }
  return { width, height };
}

/**
 * A decoded picture at `KEPT_WIDTH` or less, brought to `MEAN_LUMINANCE`: {data, width, height}, RGBA numbers.
 * data: four numbers a pixel, from the top left, as `decode` reads them. Throws an Error where numbers are missing or
 * are none.
 */
export function reduceHdr(name, { data, width, height }, decode = (value) => value) {
  const broken = () =>
    new Error(`${name} is damaged: pixels are missing or are no numbers. Fetch the file anew and choose it again.`);
  if (data.length !== 4 * width * height) throw broken();
  const step = Math.max(1, Math.ceil(width / KEPT_WIDTH));
  const small = { width: Math.floor(width / step), height: Math.max(1, Math.floor(height / step)) };
  const pixels = new Float32Array(4 * small.width * small.height);
  let sum = 0;
  let weights = 0;
  for (let row = 0; row < small.height; row++) {
    // Rows near the poles are little of the sphere.
    const weight = Math.sin((Math.PI * (row + 0.5)) / small.height);
    for (let column = 0; column < small.width; column++) {
      const place = 4 * (row * small.width + column);
      for (let y = row * step; y < Math.min((row + 1) * step, height); y++) {
        for (let x = column * step; x < (column + 1) * step; x++) {
          const from = 4 * (y * width + x);
          for (let channel = 0; channel < 3; channel++) pixels[place + channel] += decode(data[from + channel]);
        }
      }
      const count = step * (Math.min((row + 1) * step, height) - row * step);
      let luminance = 0;
      for (let channel = 0; channel < 3; channel++) {
        pixels[place + channel] /= count;
        luminance += LUMINANCE[channel] * pixels[place + channel];
      }
      pixels[place + 3] = 1;
      sum += weight * luminance;
      weights += weight;
    }
  }
  const mean = sum / weights;
  if (!Number.isFinite(mean)) throw broken();
  if (mean <= 0) throw new Error(`${name} is black all over, so it lights nothing. Choose another picture.`);
  for (let place = 0; place < pixels.length; place++) {
    if (place % 4 !== 3) pixels[place] *= MEAN_LUMINANCE / mean;
  }
  return { data: pixels, ...small };
}
