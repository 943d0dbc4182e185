import assert from "node:assert/strict";
import { test } from "node:test";
import { checkHdr, KEPT_WIDTH, LARGEST, MEAN_LUMINANCE, reduceHdr } from "../../app/static/hdr.js";

const header = ({ magic = "#?RADIANCE", format = "32-bit_rle_rgbe", size = "-Y 256 +X 512" } = {}) =>
  new TextEncoder().encode(`${magic}\nFORMAT=${format}\nEXPOSURE=1\n\n${size}\n\x02\x02`);
const luminance = (pixels, place) => 0.2126 * pixels[place] + 0.7152 * pixels[place + 1] + 0.0722 * pixels[place + 2];

test("the size is read from the first lines", () => {
  assert.deepEqual(checkHdr("a.hdr", 1000, header()), { width: 512, height: 256 });
  assert.deepEqual(checkHdr("a.hdr", 1000, header({ magic: "#?RGBE" })), { width: 512, height: 256 });
  assert.deepEqual(checkHdr("a.hdr", LARGEST.bytes, header({ size: "-Y 2048 +X 4096" })), {
    width: LARGEST.width,
    height: LARGEST.height,
  });
});

test("what is none, or too large, is refused in a sentence before anything is decoded", () => {
  const cases = [
    [1000, header({ magic: "GIF89a" }), /no \.hdr picture/],
    [1000, new Uint8Array(0), /no \.hdr picture/],
    [1000, header({ format: "32-bit_rle_xyze" }), /stores 32-bit_rle_xyze/],
    [1000, header({ size: "+Y 256 +X 512" }), /does not give its size/],
    [1000, header({ size: "-Y 4096 +X 8192" }), /8192 × 4096 pixels.*4096 × 2048 at most/],
    [1000, header({ size: "-Y 0 +X 512" }), /512 × 0/],
    [LARGEST.bytes + 1, header(), /65 MB.*64 MB at most/],
  ];
  for (const [bytes, start, sentence] of cases) {
    assert.throws(
      () => checkHdr("attic.hdr", bytes, start),
      (error) => {
        assert.match(error.message, sentence);
        assert.match(error.message, /^attic\.hdr .*\.$/);
        return true;
      },
    );
  }
});

test("a picture keeps its shape and colours, and is brought to the common brightness", () => {
  const [width, height] = [8, 4];
  const data = new Float32Array(4 * width * height).map((_, i) => [3, 2, 1, 1][i % 4] * (1 + (i % 7)));
  const small = reduceHdr("a.hdr", { data, width, height });
  assert.deepEqual([small.width, small.height], [width, height]);
  const factor = small.data[0] / data[0];
  small.data.forEach((value, i) => {
    if (i % 4 !== 3) assert.ok(Math.abs(value - factor * data[i]) < 1e-5 * Math.abs(value));
  });
  // Weighed by how much of the sphere a row is.
  let [sum, weights] = [0, 0];
  for (let row = 0; row < height; row++) {
    const weight = Math.sin((Math.PI * (row + 0.5)) / height);
    for (let column = 0; column < width; column++) {
      sum += weight * luminance(small.data, 4 * (row * width + column));
      weights += weight;
    }
  }
  assert.ok(Math.abs(sum / weights - MEAN_LUMINANCE) < 1e-6);
});

test("a large picture is averaged, so that a small sun is not lost", () => {
  const [width, height] = [4 * KEPT_WIDTH, 8];
  const data = new Uint16Array(4 * width * height).fill(1);
  data[4 * (5 * width + 1001)] = 60001;
  const { data: small, ...size } = reduceHdr("a.hdr", { data, width, height }, (value) => value);
  assert.deepEqual(size, { width: KEPT_WIDTH, height: 2 });
  const place = 4 * (KEPT_WIDTH + 250);
  assert.ok(Math.abs(small[place] / small[0] - (15 + 60001) / 16) < 1);
  assert.ok(Math.abs(small[place + 1] / small[1] - 1) < 1e-5);
});

test("missing pixels, numbers that are none and a black picture are sentences", () => {
  const whole = { data: new Float32Array(4 * 8).fill(1), width: 4, height: 2 };
  assert.throws(() => reduceHdr("a.hdr", { ...whole, height: 3 }), /a\.hdr is damaged.*\.$/);
  assert.throws(() => reduceHdr("a.hdr", { ...whole, data: whole.data.map(() => NaN) }), /damaged/);
  assert.throws(() => reduceHdr("a.hdr", { ...whole, data: whole.data.map(() => 0) }), /black/);
});
