// How skin takes light, beyond what glTF can say: light that scatters below the surface, two lobes of reflection, and
// wrinkles that come and go. The model is the one of core/render.py where both have it; sources stand beside each part.

import * as THREE from "three";
import { LAYERS } from "./wrinkles.js";

// How far beyond the terminator each colour of light still leaves skin of translucency 0.5, after the wrapped diffuse of
// "GPU Gems", chapter 16: blood scatters red the furthest.
export const SCATTER = [0.22, 0.09, 0.06];
// What a head without a map of it has: a cheek's.
const TRANSLUCENCY = 0.5;
// Below the surface light travels this far, so that relief finer than that does not show in diffuse light. Red gets all
// of the blur, the others a share (Penner and Borshukov 2011, "Pre-integrated skin shading", blended normals).
const REACH_MM = 3;
const BLUR_SHARES = [1, 0.6, 0.35];
// Reflection: the skin's own lobe and a sharper one of the oil on it, as [factor of the roughness, share]. Their mean is
// about that of the map. Measured skin needs two as well (Weyrich et al. 2006, as in Unity's and Unreal's skin).
export const LOBES = [
  [1.1, 0.7],
  [0.75, 0.3],
];
// How steep a texel of a normal map may be: its z may not reach 0.
const STEEPEST = 0.12;

export const DEFAULT_DETAIL = { normal: 1, wrinkles: 1, scattering: 1, shine: 1 };
const LIMIT = 2;

const { clamp, lerp } = THREE.MathUtils;

/** A set_detail message within its limits. */
export function limitDetail({ normal, wrinkles, scattering, shine }) {
  const limited = Object.entries({ normal, wrinkles, scattering, shine }).map(([key, value]) => [
    key,
    clamp(value, 0, LIMIT),
  ]);
  return Object.fromEntries(limited);
}

/**
 * What "shine" multiplies: {specular, roughness}. 0 is powdered, 1 the head's own, 2 oiled: more oil mirrors more, and
 * more sharply.
 */
export function shineFactors(shine) {
  if (shine < 1) return { specular: lerp(0.15, 1, shine), roughness: lerp(1.3, 1, shine) };
  return { specular: lerp(1, 1.7, shine - 1), roughness: lerp(1, 0.66, shine - 1) };
}

/** Length of a texture's side per millimetre of the surface, in the mean over a geometry's triangles. */
export function texturePerMm(geometry) {
  const { position, uv } = geometry.attributes;
  const index = geometry.index;
  if (!uv || !index) return 1 / 300;
  const [a, b, c] = [new THREE.Vector3(), new THREE.Vector3(), new THREE.Vector3()];
  let area_mm2 = 0;
  let area_uv = 0;
  for (let i = 0; i < index.count; i += 3) {
    const [p, q, r] = [index.getX(i), index.getX(i + 1), index.getX(i + 2)];
    a.fromBufferAttribute(position, p);
    b.fromBufferAttribute(position, q).sub(a);
    c.fromBufferAttribute(position, r).sub(a);
    // What looks forwards: the face has most of the map, and it is what is looked at.
    const normal = b.cross(c);
    if (normal.z <= 0) continue;
    area_mm2 += normal.length() * 1e6;
    const [u, v] = [uv.getX(p), uv.getY(p)];
    area_uv += Math.abs((uv.getX(q) - u) * (uv.getY(r) - v) - (uv.getX(r) - u) * (uv.getY(q) - v));
  }
  return area_mm2 > 0 && area_uv > 0 ? Math.sqrt(area_uv / area_mm2) : 1 / 300;
}

const glsl = (values) => `vec3( ${values.map((value) => value.toFixed(4)).join(", ")} )`;

const PARS = `
uniform vec4 skinDetail; // factors of: slopes, slopes of wrinkles, scattering, sides of the texture per millimetre
#ifdef SKIN_WRINKLES
  uniform sampler2D wrinkleMap0;
  uniform sampler2D wrinkleMap1;
  varying vec2 vWrinkle;
#endif
// Of the texel at hand: how far light wraps, and the normals that light of each colour follows.
vec3 skinWrap;
vec3 skinNormalRed;
vec3 skinNormalGreen;
vec3 skinNormalBlue;

// The level of a map's chain that is as fine as another's of the given level and side.
float skinLevelOf( const in sampler2D map, const in float level, const in float side ) {
  return level + log2( float( textureSize( map, 0 ).x ) / side );
}

vec2 skinSlopes( const in vec4 texel ) {
  vec3 n = texel.xyz * 2.0 - 1.0;
  return n.xy / max( n.z, ${STEEPEST} );
}
`;

// After the roughness, in whose texture the translucency is; instead of three's reading of the normal map.
const NORMALS = `
float skinTranslucency = ${TRANSLUCENCY.toFixed(2)};
#if defined( SKIN_TRANSLUCENCY ) && defined( USE_ROUGHNESSMAP )
  skinTranslucency = texelRoughness.b;
#endif
float skinSpread = 2.0 * skinTranslucency * skinDetail.z;
skinWrap = skinSpread * ${glsl(SCATTER)};
#ifdef USE_NORMALMAP_TANGENTSPACE
  vec2 skinTexels = vec2( textureSize( normalMap, 0 ) );
  vec2 skinDx = dFdx( vNormalMapUv ) * skinTexels;
  vec2 skinDy = dFdy( vNormalMapUv ) * skinTexels;
  // The level of the chain that is as coarse as the light's way, and never finer than the screen.
  float skinLevel = max( 0.5 * log2( max( dot( skinDx, skinDx ), dot( skinDy, skinDy ) ) ),
    log2( max( 1.0, ${REACH_MM.toFixed(1)} * skinSpread * skinDetail.w * skinTexels.x ) ) );
  vec2 skinSharp = skinDetail.x * skinSlopes( texture2D( normalMap, vNormalMapUv ) );
  vec2 skinSoft = skinDetail.x * skinSlopes( textureLod( normalMap, vNormalMapUv, skinLevel ) );
  #ifdef SKIN_WRINKLES
    if ( skinDetail.y > 0.0 ) {
      vec2 skinFold = skinDetail.y * clamp( vWrinkle, 0.0, 1.0 );
      skinSharp += skinFold.x * skinSlopes( texture2D( wrinkleMap0, vNormalMapUv ) )
        + skinFold.y * skinSlopes( texture2D( wrinkleMap1, vNormalMapUv ) );
      skinSoft += skinFold.x * skinSlopes( textureLod( wrinkleMap0, vNormalMapUv, skinLevelOf( wrinkleMap0, skinLevel, skinTexels.x ) ) )
        + skinFold.y * skinSlopes( textureLod( wrinkleMap1, vNormalMapUv, skinLevelOf( wrinkleMap1, skinLevel, skinTexels.x ) ) );
    }
  #endif
  normal = normalize( tbn * vec3( skinSharp * normalScale, 1.0 ) );
  skinNormalRed = normalize( tbn * vec3( mix( skinSharp, skinSoft, ${BLUR_SHARES[0].toFixed(2)} ) * normalScale, 1.0 ) );
  skinNormalGreen = normalize( tbn * vec3( mix( skinSharp, skinSoft, ${BLUR_SHARES[1].toFixed(2)} ) * normalScale, 1.0 ) );
  skinNormalBlue = normalize( tbn * vec3( mix( skinSharp, skinSoft, ${BLUR_SHARES[2].toFixed(2)} ) * normalScale, 1.0 ) );
#else
  skinNormalRed = skinNormalGreen = skinNormalBlue = normal;
#endif
`;

const LOBE = `
PhysicalMaterial skinLobe( const in PhysicalMaterial material, const in float factor ) {
  PhysicalMaterial lobe = material;
  lobe.roughness = clamp( material.roughness * factor, 0.045, 1.0 );
  return lobe;
}
void RE_Direct_Physical(`;

const mixed = (read) => LOBES.map(([factor, share]) => `${share.toFixed(2)} * ${read(factor.toFixed(2))}`).join(" + ");

// [the chunk, what stands there in it, what shall]
const CHANGES = [
  ["lights_physical_pars_fragment", "void RE_Direct_Physical(", LOBE],
  [
    "lights_physical_pars_fragment",
    "vec3 specularBRDF = BRDF_GGX( directLight.direction, geometryViewDir, geometryNormal, material );",
    `vec3 specularBRDF = ${mixed((factor) => `BRDF_GGX( directLight.direction, geometryViewDir, geometryNormal, skinLobe( material, ${factor} ) )`)};`,
  ],
  // After the reflections, which keep the plain irradiance, and before the diffuse light.
  [
    "lights_physical_pars_fragment",
    "vec3 halfDir = normalize( directLight.direction + geometryViewDir );\n\tfloat dotVH",
    `irradiance = directLight.color * saturate( ( vec3(
      dot( skinNormalRed, directLight.direction ),
      dot( skinNormalGreen, directLight.direction ),
      dot( skinNormalBlue, directLight.direction ) ) + skinWrap ) / ( 1.0 + skinWrap ) );
    #ifdef USE_SHEEN
      irradiance *= sheenEnergyComp;
    #endif
    vec3 halfDir = normalize( directLight.direction + geometryViewDir );
    float dotVH`,
  ],
  // The surroundings are soft already: one normal for all colours.
  [
    "lights_fragment_maps",
    "iblIrradiance += getIBLIrradiance( geometryNormal );",
    "iblIrradiance += getIBLIrradiance( skinNormalGreen );",
  ],
  [
    "lights_fragment_maps",
    "vec3 iblRadiance = getIBLRadiance( geometryViewDir, geometryNormal, material.roughness );",
    `vec3 iblRadiance = ${mixed((factor) => `getIBLRadiance( geometryViewDir, geometryNormal, clamp( material.roughness * ${factor}, 0.045, 1.0 ) )`)};`,
  ],
];

function changedChunk(name) {
  return CHANGES.filter(([chunk]) => chunk === name).reduce((text, [, before, after]) => {
    if (!text.includes(before)) throw new Error(`three.js has changed: ${name} no longer holds "${before}".`);
    return text.replace(before, () => after);
  }, THREE.ShaderChunk[name]);
}

/**
 * Once for a mesh of skin: change what its material compiles to. wrinkles: {field: a Wrinkles, textures: two normal
 * maps, scale: factor of their slopes}, or null. Returns what `setDetail` takes.
 */
export function prepareSkin(mesh, wrinkles = null) {
  const { material, geometry } = mesh;
  const skin = {
    mesh,
    material,
    roughness: material.roughness,
    mirror: material.isMeshPhysicalMaterial
      ? { intensity: material.specularIntensity, color: material.specularColor.clone() }
      : null,
    wrinkles,
    weights: null,
    detail: { value: new THREE.Vector4(1, 0, 1, texturePerMm(geometry)) },
    strength: 1,
  };
  material.defines = { ...material.defines };
  if (material.userData.likeness?.translucency === "metallicRoughness.b") material.defines.SKIN_TRANSLUCENCY = "";
  // Blue is translucency, not metal.
  if (material.metalness === 0) material.metalnessMap = null;
  const uniforms = { skinDetail: skin.detail };
  if (wrinkles) {
    material.defines.SKIN_WRINKLES = "";
    skin.weights = new THREE.BufferAttribute(wrinkles.field.weights, LAYERS).setUsage(THREE.DynamicDrawUsage);
    geometry.setAttribute("wrinkleWeight", skin.weights);
    wrinkles.textures.forEach((texture, layer) => (uniforms[`wrinkleMap${layer}`] = { value: texture }));
  }
  material.onBeforeCompile = (shader) => {
    Object.assign(shader.uniforms, uniforms);
    shader.vertexShader = shader.vertexShader
      .replace(
        "#include <common>",
        "#include <common>\n#ifdef SKIN_WRINKLES\n  attribute vec2 wrinkleWeight;\n  varying vec2 vWrinkle;\n#endif",
      )
      .replace(
        "#include <uv_vertex>",
        "#include <uv_vertex>\n#ifdef SKIN_WRINKLES\n  vWrinkle = wrinkleWeight;\n#endif",
      );
    shader.fragmentShader = shader.fragmentShader
      .replace("#include <lights_physical_pars_fragment>", () => PARS + changedChunk("lights_physical_pars_fragment"))
      .replace("#include <normal_fragment_maps>", NORMALS)
      .replace("#include <lights_fragment_maps>", () => changedChunk("lights_fragment_maps"));
  };
  material.customProgramCacheKey = () => "likeness-skin";
  return skin;
}

/** Draw a skin with a set_detail message's strengths. */
export function setDetail(skin, detail) {
  const { normal, wrinkles, scattering, shine } = limitDetail(detail);
  const { specular, roughness } = shineFactors(shine);
  skin.detail.value.x = normal;
  skin.detail.value.z = scattering;
  // Of the map: both factors stay within what a roughness may be.
  skin.material.roughness = skin.roughness * roughness;
  if (skin.mirror) {
    // The intensity is the reflectance at a glancing angle too, which is never above 1.
    skin.material.specularIntensity = skin.mirror.intensity * Math.min(specular, 1);
    skin.material.specularColor.copy(skin.mirror.color).multiplyScalar(Math.max(specular, 1));
  }
  skin.strength = wrinkles;
  wrinkle(skin);
}

/** Let wrinkles follow an expression: weights by ARKit name. */
export function followExpression(skin, weights) {
  if (!skin.wrinkles) return;
  if (skin.wrinkles.field.follow(weights)) skin.weights.needsUpdate = true;
  wrinkle(skin);
}

// A face at rest does not pay for reading maps that add nothing.
function wrinkle(skin) {
  skin.detail.value.y = skin.wrinkles?.field.any ? skin.strength * skin.wrinkles.scale : 0;
}
