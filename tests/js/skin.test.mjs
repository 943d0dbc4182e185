import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import {
  DEFAULT_DETAIL,
  followExpression,
  limitDetail,
  LOBES,
  prepareSkin,
  setDetail,
  shineFactors,
  texturePerMm,
} from "../../app/static/skin.js";
import { Wrinkles } from "../../app/static/wrinkles.js";

// A square of 100 mm that faces forwards and has a quarter of the map, and one that looks back and has the rest.
function sheet(likeness = undefined) {
  const geometry = new THREE.BufferGeometry();
  const square = (z, turn) => [0, 0, z, 0.1, turn ? 0.1 : 0, z, turn ? 0.1 : 0.1, turn ? 0 : 0.1, z, 0, 0.1, z];
  geometry.setAttribute("position", new THREE.Float32BufferAttribute([...square(0.1, false), ...square(0, false)], 3));
  geometry.setAttribute(
    "uv",
    new THREE.Float32BufferAttribute([0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5, 0, 0, 1, 0, 1, 1, 0, 1], 2),
  );
  geometry.setIndex([0, 1, 2, 0, 2, 3, 4, 6, 5, 4, 7, 6]);
  const material = new THREE.MeshPhysicalMaterial({ name: "skin", roughness: 0.9, metalness: 0 });
  material.userData = likeness ? { likeness } : {};
  return new THREE.Mesh(geometry, material);
}

const shader = () => ({
  uniforms: {},
  vertexShader: THREE.ShaderLib.physical.vertexShader,
  fragmentShader: THREE.ShaderLib.physical.fragmentShader,
});

test("the shader is changed where light is diffused and mirrored, in this version of three.js", () => {
  const mesh = sheet();
  prepareSkin(mesh);
  const changed = shader();
  mesh.material.onBeforeCompile(changed);
  const direct = changed.fragmentShader.slice(changed.fragmentShader.indexOf("void RE_Direct_Physical"));
  // Between the reflections, which must not be softened, and the diffuse light.
  const order = ["directSpecular += irradiance", "irradiance = directLight.color", "directDiffuse += irradiance"];
  const places = order.map((text) => direct.indexOf(text));
  assert.ok(places[0] > 0 && places[0] < places[1] && places[1] < places[2], `${places}`);
  // The translucency is read after the roughness whose texture it is in.
  const main = changed.fragmentShader.slice(changed.fragmentShader.indexOf("void main"));
  assert.ok(main.indexOf("#include <roughnessmap_fragment>") < main.indexOf("skinTranslucency"));
  assert.ok(!main.includes("#include <normal_fragment_maps>"));
  assert.ok(changed.uniforms.skinDetail.value.isVector4);
});

test("both lobes together mirror as much as one, about as sharply as the map says", () => {
  assert.ok(Math.abs(LOBES.reduce((sum, [, share]) => sum + share, 0) - 1) < 1e-12);
  const mean = LOBES.reduce((sum, [factor, share]) => sum + share * Math.log(factor), 0);
  assert.ok(Math.abs(mean) < 0.05);
});

test("the map's side is measured on what faces forwards", () => {
  // Half the map's side on 100 mm.
  assert.ok(Math.abs(texturePerMm(sheet().geometry) - 0.5 / 100) < 1e-9);
});

test("more shine mirrors more and more sharply, and none is nearly matt", () => {
  const steps = [0, 0.5, 1, 1.5, 2].map(shineFactors);
  for (let i = 1; i < steps.length; i++) {
    assert.ok(steps[i].specular > steps[i - 1].specular && steps[i].roughness < steps[i - 1].roughness);
  }
  assert.deepEqual(shineFactors(1), { specular: 1, roughness: 1 });
});

test("strengths go to the material and back", () => {
  const mesh = sheet();
  const skin = prepareSkin(mesh);
  const own = { roughness: mesh.material.roughness, specular: mesh.material.specularColor.r };
  setDetail(skin, { normal: 0.5, wrinkles: 2, scattering: 1.5, shine: 2 });
  assert.deepEqual([skin.detail.value.x, skin.detail.value.z], [0.5, 1.5]);
  assert.ok(mesh.material.roughness < own.roughness && mesh.material.specularColor.r > own.specular);
  // The reflectance at a glancing angle is never above 1.
  assert.ok(mesh.material.specularIntensity <= 1);
  setDetail(skin, { ...DEFAULT_DETAIL, shine: 0 });
  assert.ok(mesh.material.roughness > own.roughness && mesh.material.specularIntensity < 0.5);
  setDetail(skin, DEFAULT_DETAIL);
  assert.deepEqual(
    { roughness: mesh.material.roughness, specular: mesh.material.specularColor.r },
    { roughness: own.roughness, specular: own.specular },
  );
  assert.deepEqual(limitDetail({ normal: 9, wrinkles: -1, scattering: 1, shine: 2 }), {
    ...{ normal: 2, wrinkles: 0, scattering: 1, shine: 2 },
  });
});

test("translucency is read where the file says that it is there", () => {
  const without = sheet();
  prepareSkin(without);
  assert.ok(!("SKIN_TRANSLUCENCY" in without.material.defines));
  const mesh = sheet({ translucency: "metallicRoughness.b" });
  prepareSkin(mesh);
  assert.ok("SKIN_TRANSLUCENCY" in mesh.material.defines);
  // What three.js itself defines is still there.
  assert.ok("PHYSICAL" in mesh.material.defines);
});

test("wrinkles are uploaded when they change, and cost nothing while there are none", () => {
  const mesh = sheet();
  const field = new Wrinkles([{ layer: 0, gains: { browInnerUp: 1 } }], () => 1, 8);
  const textures = [new THREE.Texture(), new THREE.Texture()];
  const skin = prepareSkin(mesh, { field, textures, scale: 2 });
  const { wrinkleWeight } = mesh.geometry.attributes;
  setDetail(skin, { ...DEFAULT_DETAIL, wrinkles: 1.5 });
  assert.equal(skin.detail.value.y, 0);
  followExpression(skin, { browInnerUp: 0.5 });
  assert.equal(skin.detail.value.y, 2 * 1.5);
  assert.equal(wrinkleWeight.version, 1);
  assert.equal(wrinkleWeight.getX(3), 0.5);
  followExpression(skin, { browInnerUp: 0.5, jawOpen: 1 });
  assert.equal(wrinkleWeight.version, 1);
  followExpression(skin, {});
  assert.equal(skin.detail.value.y, 0);
  const changed = shader();
  mesh.material.onBeforeCompile(changed);
  assert.equal(changed.uniforms.wrinkleMap1.value, textures[1]);
  assert.match(changed.vertexShader, /vWrinkle = wrinkleWeight/);
});
