import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import {
  CHECKER_CELLS,
  checkerCell,
  checkStyle,
  prepareMaterials,
  Surfaces,
  undress,
} from "../../app/static/surfaces.js";

// A head with one vertex at the neck's edge, one high up, and a mouth that goes back.
function tinyHead() {
  const mesh = (name, positions) => {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
    const material = new THREE.MeshPhysicalMaterial({ name, side: THREE.DoubleSide });
    const object = new THREE.Mesh(geometry, material);
    object.castShadow = name !== "lashes";
    return object;
  };
  const meshes = [
    mesh("skin", [0, -0.2, 0, 0, 0.1, 0, 0.1, 0, 0]),
    mesh("mouth", [0, 0, 0.08, 0, 0, 0, 0.01, 0, 0.04]),
    mesh("lashes", [0, 0, 0, 0, 0, 0, 0, 0, 0]),
  ];
  return { meshes, materials: new Map(meshes.map((object) => [object, object.material])), maps: new Map() };
}

test("every cell of the checker has its own name, and neighbours differ in lightness", () => {
  const lightness = ({ fill }) => Number(/ ([\d.]+)%\)$/.exec(fill)[1]);
  const names = new Set();
  for (let row = 0; row < CHECKER_CELLS; row++) {
    for (let column = 0; column < CHECKER_CELLS; column++) {
      const cell = checkerCell(row, column);
      names.add(cell.name);
      if (column > 0) {
        const gap = Math.abs(lightness(cell) - lightness(checkerCell(row, column - 1)));
        assert.ok(gap > 30, `${cell.name}: ${gap}`);
      }
      // The letters stand out from their cell.
      assert.equal(cell.ink, lightness(cell) < 50 ? "#fff" : "#1b1b1b");
    }
  }
  assert.equal(names.size, CHECKER_CELLS ** 2);
  assert.equal(checkerCell(0, 0).name, "A1");
  assert.equal(checkerCell(15, 15).name, "P16");
});

test("the neck's edge and the throat are dark, the face and the lips are not", () => {
  const head = tinyHead();
  prepareMaterials(head);
  const [skin, mouth, lashes] = head.meshes;
  const shade = (mesh) => [0, 1, 2].map((i) => mesh.geometry.attributes.color.getX(i));
  const [edge, crown] = shade(skin);
  assert.ok(edge < 0.1 && crown === 1);
  const [lips, throat, between] = shade(mouth);
  assert.ok(lips > 0.9 && throat < 0.15 && between > throat && between < lips);
  assert.equal(lashes.geometry.attributes.color, undefined);
});

test("a style dresses the head, lashes only in their own, and undressing brings everything back", () => {
  const head = tinyHead();
  prepareMaterials(head);
  const own = head.meshes.map((mesh) => mesh.material);
  const surfaces = new Surfaces();
  for (const style of ["clay", "normals", "wireframe"]) {
    surfaces.dress(head, style);
    assert.notEqual(head.meshes[0].material, own[0], style);
    assert.deepEqual(
      head.meshes.map((mesh) => mesh.visible),
      [true, true, false],
      style,
    );
  }
  assert.equal(head.meshes[0].material[1].wireframe, true);
  surfaces.dress(head, "textured");
  // Skin and mouth with what is seen through the open neck.
  assert.deepEqual(
    head.meshes.map((mesh) => [mesh.material].flat()[0]),
    own,
  );
  assert.deepEqual(
    head.meshes.map((mesh) => [mesh.material].flat().length),
    [2, 2, 1],
  );
  assert.ok(head.meshes.every((mesh) => mesh.visible));
  undress(head);
  assert.deepEqual(
    head.meshes.map((mesh) => mesh.material),
    own,
  );
  surfaces.dispose();
});

test("a style that is not there is refused by name", () => {
  assert.equal(checkStyle("uv"), "uv");
  assert.throws(() => checkStyle("toon"), /no style "toon"; it has textured, clay, wireframe, normals and uv/);
});
