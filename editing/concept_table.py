"""The words of edits as data: what each concept moves, how people say it, and when it is true of a head.

`editing.words` reads these rows; nothing here computes. Moves are written as in

    age_years +20        by 20
    iris_melanin =0.03   to 0.03, from either side
    freckles +0.3>0.65   by 0.3, and at least as far as 0.65 (with a minus: at most, `age_years -20>26`)

An expression without its side (mouthSmile) is both sides. Conditions are written `name low..high`, also as
`@freckles:freckled`, the range that `core.synthesis.captions.WORDS` has for that phrase; `mean:mouthSmile` is the mean
of both sides, `diff:mouthSmile` their distance, `most:expression` the largest of all expressions.

Phrases leave out articles where they may; "their" stands for her, his and their. A part's name with an adjective of
size is made by the grammar of `PARTS` and need not be written down.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One concept. Phrases by form, separated by commas. adj: stands before a noun or after "look" ("elderly"). comp: a
    comparative or another predicate that is an edit but no description ("older"). thing: follows "with" and "give her"
    ("a beard"). person: a noun ("sailor"). clause: follows the noun ("in their seventies"). verb: a command ("smile").

    opposite: moves of the negative, or "mirror" (the other way) or "gone" (back to nothing). true, slight, strong: when
    it is true of a head, just or very much so; "" where it is not said of heads. never: when its absence can be stated.
    """

    name: str
    moves: str
    adj: str = ""
    comp: str = ""
    thing: str = ""
    person: str = ""
    clause: str = ""
    verb: str = ""
    opposite: str = "mirror"
    true: str = ""
    slight: str = ""
    strong: str = ""
    never: str = ""


_AGING = "wrinkles +0.45; sag +0.38; grey +0.5; age_spots +0.3"
_OLDER = f"age_years +30; {_AGING}"
_YOUNGER = "age_years -30; wrinkles -0.35; sag -0.25; grey -0.4; age_spots -0.25"
_OLD = "age_years +20>72; wrinkles +0.2>0.5; sag +0.12>0.4; grey +0.2>0.7; age_spots +0.1>0.25"
_YOUNG = "age_years -20>25; wrinkles -0.2>0.02; sag -0.12>0.02; grey -0.3>0; age_spots -0.2>0; under_eye -0.05>0.2"
_SHAVEN = "stubble -0.3>0; beard_chin -0.3>0; beard_cheeks -0.2>0; moustache -0.25>0"
_FULL_BEARD = "beard_chin +0.3>0.9; beard_cheeks +0.25>0.8; moustache +0.25>0.8; stubble +0.4>1"
_BARE_FACE = "lipstick -0.3>0; eyeliner -0.3>0; eyeshadow -0.3>0; blush -0.3>0"
_MAN = f"gender +0.5>0.96; {_BARE_FACE}"
_WOMAN = f"gender -0.5>0.04; {_SHAVEN}; recession -0.2>0"
_HAIR_PLAIN = "hair_redness =0; grey =0"
_CALM = "most:expression 0..0.12"

PEOPLE_ROWS: tuple[Row, ...] = (
    # ------------------------------------------------------------------------------------------ age
    Row(
        "older",
        _OLDER,
        opposite=_YOUNGER,
        comp="older, more aged, advanced in years, closer to retirement, further on in life, years added, "
        "later in life, past their prime, over the hill, older than now, more mature, more senior",
        verb="age, add years, add some years, get older, grow older, grow old, age up, age progression",
    ),
    Row(
        "younger",
        _YOUNGER,
        opposite=_OLDER,
        comp="younger, more youthful, fresher, rejuvenated, de-aged, younger than now, years taken off",
        verb="rejuvenate, de-age, deage, take years off, shave off some years, turn back the clock, grow "
        "younger, restore youth",
    ),
    Row(
        "old",
        _OLD,
        opposite=_YOUNGER,
        true="age_years 64..85",
        strong="age_years 76..85",
        adj="old, elderly, aged, senior, ancient, aging, ageing, grey-haired and old, old-looking, "
        "geriatric, long in the tooth, retired, venerable, advanced in age, wizened, getting on in "
        "years, hoary",
        person="senior, senior citizen, pensioner, old person, retiree, elder, oldie, old-timer, oap",
        clause="of old age, of advanced age, in old age, in their old age, of a great age, in the autumn of life",
        thing="old age, an old face, an elderly face, an aged face, an aged look",
    ),
    Row(
        "young",
        _YOUNG,
        opposite=_OLDER,
        true="age_years 18..29",
        strong="age_years 18..21.5",
        adj="young, youthful, young-looking, juvenile, fresh-faced, baby-faced, in the prime of youth",
        person="young person, youth, young adult, youngster, student, college student, undergraduate",
        clause="of young age, at a young age",
        thing="a youthful face, a young face, youth, a baby face, a youthful look, youthful looks",
    ),
    Row(
        "middle-aged",
        "age_years =50; wrinkles =0.3; grey =0.25; sag =0.2",
        opposite="age_years =28; wrinkles =0.05",
        true="age_years 42..58",
        adj="middle-aged, mid-life, fortyish, fiftyish, forty-something, fifty-something",
        person="middle-aged person",
        clause="of middle age, in middle age, in midlife, in their middle years",
    ),
    Row(
        "teenager",
        "age_years -20>18; wrinkles -0.3>0; sag -0.2>0; grey -0.4>0; age_spots -0.3>0; recession -0.2>0; "
        "blemishes +0.05>0.12",
        opposite=_OLDER,
        true="age_years 18..20",
        adj="teenage, adolescent, teen, pubescent",
        person="teenager, adolescent, teen, pupil",
        clause="in their teens, of teenage years",
    ),
    Row(
        "child",
        "age_years -30>18; wrinkles -0.3>0; sag -0.3>0; grey -0.5>0; age_spots -0.5>0; eye_size +1; "
        "nose_length -0.8; chin_length -0.8; recession -0.3>0; stubble -0.4>0; beard_chin -0.5>0; "
        "beard_cheeks -0.5>0; moustache -0.5>0",
        opposite=_OLDER,
        adj="childlike, childish, infantile, babyish",
        person="child, kid, baby, toddler, infant, small child, schoolkid",
        clause="in childhood",
    ),
    # ------------------------------------------------------------------------------------------ gender
    Row(
        "masculine",
        "gender +0.4>0.9",
        opposite="gender -0.4>0.1",
        true="@gender:masculine",
        adj="masculine, manly, virile, butch, mannish, macho, boyish-faced, male-looking, testosterone-filled",
        comp="more of a man, manlier, more male, maler, more like a man, gender male",
        thing="masculine features, manly features, a manly face, a masculine face, masculinity, a male face",
        verb="masculinize, masculinise",
    ),
    Row(
        "feminine",
        "gender -0.4>0.1",
        opposite="gender +0.4>0.9",
        true="@gender:feminine",
        adj="feminine, womanly, ladylike, girly, female-looking, effeminate, delicate, maidenly",
        comp="more of a woman, girlier, more female, more like a woman, gender female",
        thing="feminine features, womanly features, a feminine face, femininity, a female face, delicate "
        "features, soft features",
        verb="feminize, feminise",
    ),
    Row(
        "man",
        _MAN,
        opposite=_WOMAN,
        true="@gender:man",
        person="man, guy, gentleman, male, bloke, fellow, chap, dude, lad, gent, mister, sir, father, dad, "
        "husband, brother, uncle, son, boyfriend, men, transgender man, trans man",
        adj="male",
    ),
    Row(
        "woman",
        _WOMAN,
        opposite=_MAN,
        true="@gender:woman",
        person="woman, lady, female, lass, gal, madam, miss, mother, mum, mom, wife, sister, aunt, daughter, "
        "girlfriend, women, chick, transgender woman, trans woman",
        adj="female",
    ),
    Row(
        "boy",
        f"{_MAN}; age_years -20>18; wrinkles -0.2>0; grey -0.3>0",
        opposite=_WOMAN,
        true="gender 0.7..1; age_years 18..22",
        adj="boyish",
        person="boy, young man, young lad, young guy, schoolboy, teenage boy, little boy",
    ),
    Row(
        "girl",
        f"{_WOMAN}; age_years -20>18; wrinkles -0.2>0; grey -0.3>0",
        opposite=_MAN,
        true="gender 0..0.3; age_years 18..22",
        adj="girlish",
        person="girl, young woman, young lady, schoolgirl, lassie, teenage girl, little girl",
    ),
    Row(
        "androgynous",
        "gender =0.5",
        opposite="gender =0.5",
        true="@gender:androgynous",
        adj="androgynous, unisex, gender-neutral, genderless, non-binary, neither male nor female, agender, "
        "genderfluid",
    ),
    # ------------------------------------------------------------------------------------------ weight
    Row(
        "heavier",
        "weight +0.3",
        comp="heavier, fatter, rounder, plumper, chubbier, stouter, meatier, bulkier",
        thing="more weight, extra weight, extra pounds, some pounds more, a few more pounds, more kilos",
        verb="gain weight, put on weight, add weight, put on pounds, fatten, fatten up, put on some weight, "
        "bulk up, gain some weight",
    ),
    Row(
        "thinner",
        "weight -0.3",
        comp="thinner, slimmer, leaner, skinnier, slenderer, lighter in weight, bonier",
        thing="less weight, fewer pounds, some pounds less",
        verb="lose weight, slim, slim down, drop weight, lose some weight, shed pounds, lose pounds, go on a "
        "diet, diet",
    ),
    Row(
        "heavy",
        "weight +0.35>0.95",
        true="@weight:heavy",
        strong="weight 0.86..1",
        adj="heavy, fat, overweight, obese, chubby, plump, stout, heavy-set, thickset, portly, corpulent, "
        "tubby, pudgy, podgy, chunky, big-boned, rotund, fleshy, well-fed, rounded, round, plus-size, "
        "curvy, stocky, hefty, beefy, burly, roly-poly",
        person="fatty, fat person",
        thing="a full face, full cheeks, chubby cheeks, round cheeks, plump cheeks, fat cheeks, a chubby face, "
        "a fat face, a plump face, a fleshy face, baby fat, puppy fat, big cheeks, chipmunk cheeks, "
        "jowly cheeks, weight, excess weight, a fuller face, fuller cheeks, rounder cheeks, chubbier "
        "cheeks, bigger cheeks",
    ),
    Row(
        "thin",
        "weight -0.3>0.16",
        true="@weight:thin",
        strong="weight 0..0.14",
        adj="thin, slim, lean, skinny, slender, bony, lanky, underweight, scrawny, svelte, spare, wiry, "
        "willowy, trim, petite, fine-boned, reedy, spindly",
        thing="a thin face, a slim face, a lean face, a skinny face, thin cheeks, slim cheeks, a bony face, "
        "smaller cheeks, thinner cheeks, a slimmer face, a leaner face, less full cheeks",
    ),
    Row(
        "gaunt",
        "weight -0.35>0.08; cheekbones +1; under_eye +0.15>0.45",
        true="weight 0..0.2",
        opposite="weight +0.3; cheekbones -1",
        adj="gaunt, haggard, emaciated, anorexic, malnourished, starved, skeletal, hollow-cheeked, starving, "
        "drawn, skin and bones, cadaverous, famished",
        thing="hollow cheeks, sunken cheeks, a gaunt face, a hollow face, hollowed cheeks, drawn cheeks",
    ),
    Row(
        "double chin",
        "weight +0.35>0.8; sag +0.25>0.5",
        opposite="weight -0.2; sag -0.2>0",
        true="weight 0.78..1; sag 0.3..1",
        thing="a double chin, double chins, jowls, a fat chin, a fleshy chin, a thick neck, a fat neck, a turkey neck",
        adj="double-chinned, jowly",
    ),
    # ------------------------------------------------------------------------------------------ ancestry
    Row(
        "african",
        "african =0.92; asian =0.04; european =0.04; melanin +0.15>0.62; hair_melanin +0.02>0.97; "
        "iris_melanin +0.05>0.92; hair_redness =0",
        opposite="african =0.06; asian =0.47; european =0.47; melanin -0.2>0.25",
        true="@african:of African descent",
        adj="african, african-american, afro-american, afro-caribbean, sub-saharan, west african, east "
        "african, nigerian, kenyan, ethiopian, ghanaian, jamaican, black african, congolese, somali, "
        "senegalese, afro",
        person="african, african american, black person",
        clause="of african descent, of african ancestry, of african origin, with african roots, from africa, "
        "with african features, of african heritage",
        thing="african features, african ancestry, african roots, african heritage",
    ),
    Row(
        "black",
        "african =0.92; asian =0.04; european =0.04; melanin +0.2>0.7; hair_melanin +0.02>0.97; "
        "iris_melanin +0.05>0.92; hair_redness =0",
        opposite="african =0.06; asian =0.2; european =0.74; melanin -0.25>0.25",
        true="african 0.65..1; melanin 0.5..1",
        adj="black",
    ),
    Row(
        "asian",
        "asian =0.92; african =0.04; european =0.04; hair_melanin +0.02>0.95; iris_melanin +0.05>0.88; hair_redness =0",
        opposite="asian =0.06; african =0.3; european =0.64",
        true="@asian:of Asian descent",
        adj="asian, east asian, chinese, japanese, korean, vietnamese, thai, oriental, mongolian, taiwanese, "
        "south-east asian, southeast asian, filipino, indonesian, malay, cambodian",
        person="asian",
        clause="of asian descent, of asian ancestry, of asian origin, with asian roots, from asia, with asian "
        "features, from china, from japan, of asian heritage, from korea",
        thing="asian features, asian eyes, asian ancestry, asian roots, asian heritage",
    ),
    Row(
        "european",
        "european =0.92; african =0.04; asian =0.04; melanin -0.1>0.18",
        opposite="european =0.06; african =0.47; asian =0.47",
        true="@european:of European descent",
        adj="european, caucasian, white, british, english, irish, scottish, german, french, polish, dutch, "
        "swiss, austrian, american, russian, ukrainian, slavic, western, anglo-saxon, celtic, white "
        "european, australian, canadian",
        person="european, caucasian, white person",
        clause="of european descent, of european ancestry, of european origin, with european roots, from "
        "europe, with european features, of european heritage",
        thing="european features, caucasian features, european ancestry, european roots, european heritage",
    ),
    Row(
        "nordic",
        "european =0.95; african =0.02; asian =0.03; melanin -0.1>0.08; hair_melanin -0.2>0.18; "
        "hair_redness =0; iris_melanin -0.2>0.05; iris_green =0.15",
        opposite="melanin +0.25>0.4; hair_melanin +0.2>0.9; iris_melanin +0.2>0.85",
        true="european 0.6..1; melanin 0..0.2; hair_melanin 0..0.35; iris_melanin 0..0.2",
        adj="nordic, scandinavian, swedish, norwegian, danish, finnish, icelandic",
        person="scandinavian, swede",
        clause="from scandinavia",
    ),
    Row(
        "mediterranean",
        "european =0.8; asian =0.1; african =0.1; melanin =0.3; hair_melanin +0.02>0.93; hair_redness "
        "=0; iris_melanin +0.05>0.85",
        opposite="melanin -0.15>0.12; hair_melanin -0.2>0.5",
        true="european 0.6..1; melanin 0.22..0.36; hair_melanin 0.85..1",
        adj="mediterranean, italian, spanish, greek, portuguese, southern european, sicilian, turkish",
        person="italian, spaniard, greek",
        clause="from italy, from spain, from greece",
    ),
    Row(
        "middle eastern",
        "european =0.65; asian =0.2; african =0.15; melanin =0.36; hair_melanin +0.02>0.96; hair_redness "
        "=0; iris_melanin +0.05>0.9",
        opposite="melanin -0.15>0.12; hair_melanin -0.2>0.5",
        adj="middle eastern, arab, arabian, arabic, persian, iranian, egyptian, north african, moroccan, "
        "lebanese, iraqi, israeli, berber",
        person="arab, persian",
    ),
    Row(
        "south asian",
        "asian =0.55; european =0.4; african =0.05; melanin =0.5; hair_melanin +0.02>0.97; hair_redness "
        "=0; iris_melanin +0.05>0.93",
        opposite="melanin -0.2>0.2; european =0.9; asian =0.05",
        adj="south asian, indian, pakistani, bangladeshi, sri lankan, bengali, punjabi, tamil, nepalese",
        person="indian",
    ),
    Row(
        "latino",
        "european =0.5; asian =0.32; african =0.18; melanin =0.34; hair_melanin +0.02>0.95; hair_redness "
        "=0; iris_melanin +0.05>0.88",
        opposite="melanin -0.15>0.15; european =0.9",
        adj="latino, latina, latin, hispanic, mexican, latin american, south american, brazilian, peruvian, "
        "colombian, latinx, argentinian, native american, indigenous",
        person="latino, latina, hispanic",
    ),
    Row(
        "mixed ancestry",
        "african =0.34; asian =0.33; european =0.33; melanin =0.35",
        opposite="african =0.34; asian =0.33; european =0.33",
        true="african 0.2..0.5; asian 0.2..0.5; european 0.2..0.5",
        adj="mixed-race, biracial, multiracial, mixed, racially ambiguous",
        clause="of mixed ancestry, of mixed descent, of mixed heritage",
        thing="mixed ancestry",
    ),
)

SKIN_ROWS: tuple[Row, ...] = (
    # ------------------------------------------------------------------------------------------ skin tone
    Row(
        "darker skin",
        "melanin +0.3",
        comp="darker, browner, darker-skinned, swarthier, more pigmented, more melanin",
        thing="darker skin, a darker skin tone, a darker complexion, browner skin, a deeper skin tone, deeper "
        "skin, more melanin, a darker tone, a darker face",
        verb="darken, darken the skin, darken the skin tone, make the skin darker",
    ),
    Row(
        "lighter skin",
        "melanin -0.3",
        comp="lighter, paler, whiter, fairer, lighter-skinned, less pigmented, brighter",
        thing="lighter skin, a lighter skin tone, a lighter complexion, paler skin, whiter skin, fairer skin, "
        "less melanin, a lighter tone, a lighter face, brighter skin, a paler face",
        verb="lighten, lighten the skin, whiten the skin, bleach the skin, brighten the skin, lighten the skin tone",
    ),
    Row(
        "dark skin",
        "melanin +0.15>0.72",
        opposite="melanin -0.3",
        true="@melanin:dark skin",
        strong="melanin 0.8..1",
        adj="dark, dark-skinned, dark-complexioned, brown-skinned, swarthy, black-skinned, dusky",
        thing="dark skin, dark brown skin, deep brown skin, a dark complexion, a dark skin tone, chocolate "
        "skin, a deep complexion, a dark face, black skin, deep skin",
    ),
    Row(
        "ebony skin",
        "melanin +0.2>0.93",
        opposite="melanin -0.35",
        true="@melanin:very dark skin",
        adj="ebony, jet-black, ebony-skinned",
        thing="ebony skin, jet-black skin, pitch-black skin, very dark skin",
    ),
    Row(
        "brown skin",
        "melanin =0.46",
        opposite="melanin -0.25>0.15",
        true="@melanin:brown skin",
        adj="brown",
        thing="brown skin, medium brown skin, caramel skin, a brown complexion, honey skin, bronze skin, "
        "golden brown skin, light brown skin",
        comp="bronzed, bronze",
    ),
    Row(
        "olive skin",
        "melanin =0.28; haemoglobin =0.38",
        opposite="melanin -0.15>0.12",
        true="@melanin:olive skin",
        adj="olive, olive-skinned, olive-toned",
        thing="olive skin, an olive complexion, an olive skin tone",
    ),
    Row(
        "tanned",
        "melanin +0.18>0.38; haemoglobin +0.03>0.45",
        opposite="melanin -0.2",
        true="melanin 0.24..0.4",
        adj="tanned, suntanned, tan, sun-kissed, sun-tanned, bronzed by the sun, sunkissed, bronzed, spray-tanned",
        thing="a tan, a suntan, tanned skin, tan skin, a sun tan, a healthy tan, a summer tan, sun-kissed "
        "skin, bronzed skin, a fake tan",
        verb="tan, sunbathe, go on a beach holiday",
    ),
    Row(
        "pale",
        "melanin -0.15>0.03; flush -0.1>0.15; haemoglobin -0.25>0.15",
        opposite="melanin +0.2; flush +0.1",
        true="@melanin:pale skin",
        adj="pale, pallid, ashen, pasty, white as a sheet, pale as a ghost, ghostly pale, wan, pale-skinned, "
        "porcelain, washed out, white-faced, alabaster, ghostly, bloodless, milky, colorless, whey-faced",
        thing="pale skin, porcelain skin, a pale complexion, a pale face, ivory skin, alabaster skin, milky "
        "skin, very light skin, white skin, very fair skin, snow-white skin, pallor",
    ),
    Row(
        "fair skin",
        "melanin -0.15>0.06; haemoglobin -0.15>0.25",
        opposite="melanin +0.25",
        true="@melanin:fair skin",
        adj="fair, fair-skinned, light-skinned, white-skinned, light-complexioned",
        thing="fair skin, light skin, a fair complexion, a light complexion, a light skin tone, a fair skin tone",
    ),
    Row(
        "redness",
        "haemoglobin +0.3>0.7; flush +0.15>0.5",
        opposite="haemoglobin -0.3; flush -0.2>0.1",
        true="haemoglobin 0.68..1",
        strong="haemoglobin 0.82..1",
        adj="ruddy, reddish, florid, red-faced, red-skinned, red, ruddy-faced, rubicund",
        comp="redder, ruddier, more rubicund",
        thing="redness, red skin, a red face, a ruddy complexion, a florid complexion, reddish skin, redder "
        "skin, rosacea, ruddy skin, pink skin, high blood pressure, irritated skin",
    ),
    Row(
        "sunburnt",
        "haemoglobin +0.35>0.85; flush +0.3>0.85",
        opposite="haemoglobin -0.3>0.35; flush -0.2>0.3",
        true="haemoglobin 0.75..1; flush 0.55..1",
        adj="sunburnt, sunburned, burnt by the sun, scalded, burned, lobster-red, wind-burnt",
        thing="sunburn, a sunburn, sunburnt skin, burnt skin, sunburnt cheeks",
        comp="red as a lobster, out in the sun too long, been in the sun too long",
    ),
    Row(
        "sallow",
        "haemoglobin -0.28>0.15; flush -0.15>0.12",
        opposite="haemoglobin +0.2; flush +0.2",
        true="haemoglobin 0..0.2",
        adj="sallow, yellowish, jaundiced, anaemic, anemic, yellow",
        thing="sallow skin, yellowish skin, a sallow complexion, less redness, no redness",
    ),
    Row(
        "rosy cheeks",
        "flush +0.3>0.85",
        opposite="flush -0.25>0.1",
        true="@flush:rosy cheeks",
        slight="flush 0.5..0.64",
        strong="flush 0.8..1",
        adj="rosy, flushed, blushing, rosy-cheeked, red-cheeked, embarrassed, pink-cheeked, glowing, apple-cheeked",
        comp="rosier, pinker, out of breath, shy",
        thing="rosy cheeks, flushed cheeks, ruddy cheeks, red cheeks, pink cheeks, a red nose, apple cheeks, a "
        "flushed face, a rosy glow, color in the cheeks, a glow, rosier cheeks, redder cheeks",
        verb="blush, make her cheeks red, redden the cheeks",
    ),
    # ------------------------------------------------------------------------------------------ marks
    Row(
        "freckles",
        "freckles +0.5>0.95",
        opposite="gone",
        true="@freckles:freckles",
        strong="freckles 0.55..1",
        slight="freckles 0.07..0.19",
        never="freckles 0..0",
        adj="freckled, freckly, freckle-faced",
        thing="freckles, a freckled face, freckled skin, freckled cheeks, freckles on the nose, freckled nose, "
        "freckles all over, freckly skin, freckles on the cheeks, sun freckles",
    ),
    Row(
        "moles",
        "moles +0.35>0.7",
        opposite="gone",
        true="@moles:moles",
        strong="moles 0.6..1",
        never="moles 0..0",
        adj="moley, mole-covered",
        thing="moles, a mole, birthmarks, a birthmark, beauty spots, a beauty spot, a beauty mark, beauty "
        "marks, dark spots on the skin, a mole on the cheek",
    ),
    Row(
        "age spots",
        "age_spots +0.35>0.7",
        opposite="gone",
        true="@age_spots:age spots",
        strong="age_spots 0.6..1",
        never="age_spots 0..0",
        adj="sun-damaged, sun-spotted, liver-spotted, sun damaged",
        thing="age spots, liver spots, sun spots, sun damage, pigment spots, sun-damaged skin, "
        "hyperpigmentation, dark patches, brown spots, sunspots, lentigines",
    ),
    Row(
        "acne",
        "blemishes +0.3>0.75",
        opposite="gone",
        true="@blemishes:acne",
        strong="blemishes 0.55..1",
        adj="pimply, spotty, zitty, acne-ridden, blemished, acne-prone, pimpled",
        thing="acne, pimples, zits, blemishes, spots, bad skin, a rash, breakouts, a breakout, teenage acne, a "
        "pimple, skin problems, blackheads, impure skin, pustules, problem skin",
    ),
    Row(
        "clear skin",
        "blemishes -0.2>0; mottling -0.2>0.2; moles -0.2>0; age_spots -0.2>0; freckles -0.1>0; scars -0.2>0",
        opposite="blemishes +0.3>0.6; mottling +0.2>0.7",
        true="@blemishes:clear skin",
        adj="flawless, clear-skinned, unblemished, spotless, blemish-free, flawless-skinned, smooth-faced",
        thing="clear skin, flawless skin, perfect skin, clean skin, good skin, pure skin, beautiful skin, "
        "healthy skin, spotless skin, a clear complexion, a clear face, glass skin",
    ),
    Row(
        "scars",
        "scars +0.35>0.75",
        opposite="gone",
        true="@scars:scars",
        strong="scars 0.55..1",
        never="scars 0..0",
        adj="scarred, scarfaced, scar-faced, battle-scarred, disfigured by scars",
        thing="scars, facial scars, a scarred face, a scar, a scar on the cheek, a scar across the face, "
        "battle scars, cuts, scar tissue, knife scars, duelling scars, wounds, acne scars, a scar over "
        "the eye",
    ),
    Row(
        "wrinkles",
        "wrinkles +0.3>0.75",
        opposite="gone",
        true="@wrinkles:wrinkles",
        strong="wrinkles 0.65..1",
        slight="wrinkles 0.12..0.3",
        never="wrinkles 0..0.02",
        adj="wrinkled, wrinkly, lined, furrowed, weathered, creased, crinkled, weather-beaten, leathery, "
        "shriveled, shrivelled, deeply lined, crinkly, wizened and lined, craggy",
        thing="wrinkles, a lined face, a wrinkled face, deep wrinkles, many wrinkles, a deeply lined face, "
        "lines, fine lines, crow's feet, creases, wrinkled skin, laugh lines, forehead lines, smile "
        "lines, worry lines, a furrowed face, furrows, leathery skin, weathered skin, frown lines, deep "
        "lines, wrinkles around the eyes, wrinkles on the forehead, facial lines, wrinkly skin",
    ),
    Row(
        "smooth skin",
        "wrinkles -0.35>0; detail -0.15; mottling -0.15>0.2",
        opposite="wrinkles +0.25>0.5; detail +0.2",
        true="@wrinkles:smooth skin",
        adj="smooth, wrinkle-free, unlined, unwrinkled, smooth-skinned, ageless, lifted, botoxed",
        thing="smooth skin, soft skin, baby skin, silky skin, tight smooth skin, botox, a facelift, a "
        "face-lift, baby-soft skin, youthful skin, a smooth face, a smooth forehead, anti-aging",
    ),
    Row(
        "saggy",
        "sag +0.35>0.8",
        opposite="sag -0.3>0",
        true="@sag:sagging skin",
        strong="sag 0.75..1",
        adj="saggy, sagging, droopy, drooping, baggy, loose-skinned, flabby, slack",
        thing="sagging cheeks, sagging skin, deep folds, saggy cheeks, saggy skin, loose skin, droopy cheeks, "
        "nasolabial folds, marionette lines, folds, drooping cheeks, hanging cheeks, bulldog cheeks, "
        "flabby skin, slack skin",
    ),
    Row(
        "firm skin",
        "sag -0.35>0",
        opposite="sag +0.3>0.5",
        true="sag 0..0.02",
        adj="firm, taut, toned, tight, tightened",
        thing="firm skin, tight skin, taut skin, firm cheeks, firmer skin, tighter skin, toned skin, elastic skin",
        verb="tighten the skin, firm up the skin, lift the face, firm up",
    ),
    Row(
        "dark circles",
        "under_eye +0.3>0.8",
        opposite="under_eye -0.25>0.05",
        true="@under_eye:shadows under the eyes",
        strong="under_eye 0.75..1",
        never="under_eye 0..0.12",
        adj="dark-eyed from lack of sleep, hollow-eyed, panda-eyed, baggy-eyed, sunken-eyed",
        thing="dark circles, dark circles under the eyes, shadows under the eyes, bags under the eyes, eye "
        "bags, under-eye circles, dark rings, dark rings under the eyes, rings under the eyes, tired "
        "eyes, eyebags, panda eyes, bags, circles under the eyes, sunken eyes, puffy eyes, under-eye "
        "bags, baggy eyes, dark shadows, eye circles, eye rings, hollow eyes",
    ),
    Row(
        "blotchy skin",
        "mottling +0.3>0.85",
        opposite="mottling -0.3>0.15",
        true="@mottling:blotchy skin",
        adj="blotchy, mottled, patchy, uneven-skinned",
        thing="uneven skin, blotchy skin, mottled skin, patchy skin, blotches, red patches, an uneven "
        "complexion, an uneven skin tone, vitiligo",
    ),
    Row(
        "even complexion",
        "mottling -0.3>0.1",
        opposite="mottling +0.3",
        true="@mottling:an even complexion",
        adj="even-toned, even-skinned",
        thing="an even complexion, even skin, an even skin tone, uniform skin, a more even skin tone, evener skin",
    ),
    Row(
        "large pores",
        "pores +0.3>0.85",
        opposite="pores -0.3",
        true="@pores:large pores",
        adj="porous, orange-peel",
        thing="large pores, visible pores, big pores, open pores, enlarged pores, rough skin, coarse skin, "
        "pores, bigger pores, larger pores, orange-peel skin, coarser skin, rougher skin, deeper pores, "
        "pored skin",
    ),
    Row(
        "fine pores",
        "pores -0.3>0.05",
        opposite="pores +0.3",
        true="@pores:fine pores",
        adj="fine-pored, poreless",
        thing="fine pores, small pores, tiny pores, invisible pores, smaller pores, finer pores, fine skin, "
        "poreless skin, refined pores, tight pores",
    ),
    Row(
        "oily skin",
        "oiliness +0.35>0.85",
        opposite="oiliness -0.3",
        true="@oiliness:oily skin",
        adj="oily, shiny, sweaty, greasy, glossy, sweating, perspiring, wet, glistening, dewy, moist",
        thing="oily skin, shiny skin, greasy skin, sweat, glossy skin, a shiny face, a sweaty face, wet skin, "
        "shine, dewy skin, a shiny forehead, an oily face, shinier skin, oilier skin, a t-zone, a sheen",
        verb="sweat, perspire, shine",
    ),
    Row(
        "matte skin",
        "oiliness -0.3>0.05",
        opposite="oiliness +0.35",
        true="@oiliness:matte skin",
        adj="matte, matt, powdered, mat, dry-skinned, dull",
        thing="matte skin, dry skin, matt skin, powder, face powder, a matte finish, dull skin, powdered skin, "
        "a matte face, drier skin, less shine, no shine",
    ),
    Row(
        "detailed skin",
        "detail +0.55",
        comp="more detailed, crisper, more realistic, higher resolution, sharper, hd, high definition, crisp, "
        "more texture, more detail, high detail, highly detailed, hyperrealistic, photorealistic, more "
        "skin detail, realistic, detailed",
        thing="detailed skin, skin detail, skin texture, realistic skin, more detailed skin, sharper skin, "
        "more skin texture, crisp skin, textured skin, details, stronger detail, skin details, rough "
        "texture",
    ),
    Row(
        "airbrushed",
        "detail -0.55",
        comp="smoother, airbrushed, retouched, photoshopped, softer, blurred, filtered, beauty filter, less "
        "detailed, plastic-looking, doll-like skin, less texture, less detail, facetuned, soft focus, "
        "blurry",
        thing="smoother skin, airbrushed skin, softer skin, plastic skin, a beauty filter, retouched skin, wax "
        "skin, less skin texture, less detailed skin, less skin detail, blurred skin, no texture",
        verb="smooth, smooth the skin, smoothen the skin, airbrush, retouch, soften the skin, blur the skin, "
        "remove texture, smoothen, soften",
    ),
    # ------------------------------------------------------------------------------------------ lips
    Row(
        "red lips",
        "lip_redness +0.3>0.9",
        opposite="lip_redness -0.3",
        true="@lip_redness:red lips",
        adj="red-lipped, rosy-lipped",
        thing="red lips, rosy lips, redder lips, cherry lips, ruby lips, pink lips, rose lips, red mouth, "
        "pinker lips, darker lips, crimson lips",
    ),
    Row(
        "pale lips",
        "lip_redness -0.3>0.1; lipstick -0.1>0",
        opposite="lip_redness +0.3",
        true="@lip_redness:pale lips",
        adj="pale-lipped",
        thing="pale lips, paler lips, bloodless lips, white lips, lighter lips, colorless lips, blue lips",
    ),
)

HAIR_ROWS: tuple[Row, ...] = (
    # Heads are shaved: hair is brows, lashes, beard and stubble.
    Row(
        "black hair",
        f"hair_melanin +0.05>1; {_HAIR_PLAIN}",
        opposite="hair_melanin -0.3>0.55",
        true="hair_melanin 0.85..1; grey 0..0.25; hair_redness 0..0.1",
        adj="black-haired, dark-haired, raven-haired, black-browed",
        thing="black hair, dark hair, raven hair, darker hair, jet-black hair, black brows, dark brows, darker "
        "brows, jet-black brows",
        verb="darken the hair, darken the brows, dye the hair black, dye hair black",
    ),
    Row(
        "brown hair",
        f"hair_melanin =0.56; {_HAIR_PLAIN}",
        opposite="hair_melanin +0.2>0.95",
        true="hair_melanin 0.4..0.72; grey 0..0.25; hair_redness 0..0.1",
        adj="brown-haired, brunette, chestnut-haired, brown-browed",
        person="brunette",
        thing="brown hair, chestnut hair, light brown hair, brunette hair, brown brows, medium brown hair, "
        "dark brown hair, light brown brows, dark brown brows",
        verb="dye the hair brown",
    ),
    Row(
        "blond hair",
        f"hair_melanin -0.3>0.12; {_HAIR_PLAIN}",
        opposite="hair_melanin +0.3>0.9",
        true="hair_melanin 0..0.28; grey 0..0.25; hair_redness 0..0.1",
        adj="blond, blond-haired, fair-haired, flaxen-haired, golden-haired, flaxen, towheaded, "
        "light-haired, blond-browed",
        person="blond",
        thing="blond hair, fair hair, golden hair, flaxen hair, yellow hair, light hair, lighter hair, "
        "strawblond hair, platinum hair, blond brows, fair brows, light brows, lighter brows, blonder "
        "hair, dyed blond hair, bleached hair, platinum blond hair, golden brows",
        verb="lighten the hair, bleach the hair, bleach the brows, lighten the brows, dye the hair blond",
    ),
    Row(
        "ginger hair",
        "hair_redness +0.4>0.9; hair_melanin =0.38; grey =0",
        opposite="hair_redness =0; hair_melanin =0.7",
        true="@hair_redness:ginger eyebrows",
        adj="ginger, red-haired, redheaded, ginger-haired, auburn, strawberry blond, carrot-topped, coppery, "
        "red-browed, redhead",
        person="redhead, ginger",
        thing="ginger hair, red hair, auburn hair, copper hair, strawberry blond hair, orange hair, carrot "
        "hair, ginger brows, red brows, auburn brows, reddish hair, redder hair, titian hair, "
        "rust-colored hair, reddish brows, orange brows, copper brows",
        verb="dye the hair red",
    ),
    Row(
        "grey hair",
        "grey +0.35>0.8",
        opposite="grey -0.35>0",
        true="@grey:grey brows",
        never="grey 0..0.02",
        adj="grey-haired, greying, grizzled, silver-haired, silver, grey-browed, grey",
        comp="greyer",
        thing="grey hair, silver hair, greying hair, silvery hair, grey brows, silver brows, greyer hair, "
        "greyer brows, greying brows, hair turning grey",
        verb="go grey, grey the hair, turn grey, dye the hair grey",
    ),
    Row(
        "white hair",
        "grey +0.35>1",
        opposite="grey -0.4>0",
        true="@grey:white brows",
        adj="white-haired, snowy-haired, white-browed",
        thing="white hair, snow-white hair, white brows, snowy brows, snow-white brows, whiter hair, whiter brows",
        verb="whiten the hair, turn the hair white",
    ),
    Row(
        "salt and pepper",
        "grey =0.45",
        opposite="grey -0.3>0",
        true="grey 0.3..0.6",
        adj="salt-and-pepper, pepper-and-salt, partly grey",
        thing="salt-and-pepper hair, salt-and-pepper brows, some grey hair, some grey hairs, a few grey hairs, "
        "grey streaks, touches of grey, grey strands, a touch of grey, a little grey hair",
    ),
    # ------------------------------------------------------------------------------------------ brows
    Row(
        "bushy brows",
        "brow_density +0.25>0.92; brow_thickness +0.3>0.85",
        opposite="brow_density -0.2; brow_thickness -0.2",
        true="brow_density 0.75..1; brow_thickness 0.68..1",
        strong="brow_density 0.86..1; brow_thickness 0.8..1",
        adj="bushy-browed, beetle-browed, heavy-browed, shaggy-browed, hairy-browed",
        thing="bushy brows, dense brows, heavy brows, hairy brows, full brows, shaggy brows, bushier brows, "
        "wild brows, more brows, fuller brows, denser brows, unkempt brows, overgrown brows, brezhnev "
        "brows, a lot of brows",
        verb="grow the brows, fill in the brows",
    ),
    Row(
        "sparse brows",
        "brow_density -0.3>0.1",
        opposite="brow_density +0.25",
        true="@brow_density:sparse brows",
        adj="sparse-browed, browless",
        thing="sparse brows, faint brows, patchy brows, sparser brows, no brows, missing brows, hardly any "
        "brows, invisible brows, plucked out brows, shaved brows, less dense brows, fewer brows",
        verb="shave the brows, shave off the brows, shave the brows off, thin out the brows, remove the brows",
    ),
    Row(
        "thick brows",
        "brow_thickness +0.32>0.85; brow_density +0.08",
        opposite="brow_thickness -0.3",
        true="@brow_thickness:thick brows",
        strong="brow_thickness 0.88..1",
        adj="thick-browed, strong-browed",
        thing="thick brows, thicker brows, strong brows, broad brows, wide brows, stronger brows, bold brows, "
        "big brows, wider brows, bigger brows, broader brows, bolder brows, frida kahlo brows, a "
        "monobrow, a unibrow",
        verb="thicken the brows",
    ),
    Row(
        "thin brows",
        "brow_thickness -0.32>0.1",
        opposite="brow_thickness +0.3",
        true="@brow_thickness:thin brows",
        strong="brow_thickness 0..0.12",
        adj="thin-browed",
        thing="thin brows, thinner brows, plucked brows, narrow brows, fine brows, pencil-thin brows, slim "
        "brows, delicate brows, narrower brows, small brows, smaller brows, finer brows, tweezed brows, "
        "pencilled brows",
        verb="pluck the brows, thin the brows, tweeze the brows",
    ),
    Row(
        "arched brows",
        "brow_arch +0.33>0.88",
        opposite="brow_arch -0.3",
        true="@brow_arch:arched brows",
        adj="arch-browed",
        thing="arched brows, curved brows, more arched brows, an arch in the brows, high-arched brows, rounded "
        "brows, round brows, arches, arching brows, a brow arch, brows with an arch, rounder brows",
    ),
    Row(
        "straight brows",
        "brow_arch -0.33>0.1",
        opposite="brow_arch +0.3",
        true="@brow_arch:straight brows",
        adj="straight-browed",
        thing="straight brows, flat brows, straighter brows, level brows, horizontal brows, flatter brows, "
        "korean brows",
        verb="straighten the brows, flatten the brows",
    ),
    Row(
        "long brows",
        "brow_length +0.33>0.85",
        opposite="brow_length -0.3",
        true="@brow_length:long eyebrows",
        thing="long brows, longer brows, extended brows, elongated brows",
        verb="lengthen the brows, extend the brows",
    ),
    Row(
        "short brows",
        "brow_length -0.33>0.1",
        opposite="brow_length +0.3",
        true="@brow_length:short eyebrows",
        thing="short brows, shorter brows, stubby brows",
        verb="shorten the brows",
    ),
    # ------------------------------------------------------------------------------------------ scalp
    Row(
        "receding hairline",
        "recession +0.35>0.75",
        opposite="gone",
        true="@recession:a receding hairline",
        strong="recession 0.6..1",
        adj="balding, receding, thinning, losing hair, thin on top, going bald",
        thing="a receding hairline, a high hairline, hair loss, thinning hair, a bald spot, a bald patch, a "
        "widow's peak, male pattern baldness, a thin hairline, a balding head, a higher hairline, "
        "receding hair, a receded hairline",
        verb="lose hair, lose the hair, go bald",
    ),
    Row(
        "full hairline",
        "recession -0.3>0",
        opposite="recession +0.35>0.6",
        thing="a full hairline, a low hairline, a full head of hair, a hair transplant, a lower hairline, a "
        "straight hairline, a youthful hairline, more hair on the head",
    ),
    Row(
        "bald",
        "recession +0.35>1; scalp_hair -0.25>0.02",
        opposite="recession -0.3>0; scalp_hair +0.3>0.7",
        true="recession 0.75..1",
        adj="bald, baldheaded, bald-headed, hairless, completely bald, bald as an egg, bald on top",
        person="baldy",
        thing="a bald head, baldness, no hair on the head, a bare scalp, a hairless head, a smooth head, a "
        "shiny head, a bald top, a bald scalp",
    ),
    Row(
        "stubbly scalp",
        "scalp_hair +0.35>0.85; recession -0.1>0",
        opposite="scalp_hair -0.3>0.05",
        true="scalp_hair 0.65..1; recession 0..0.2",
        adj="buzz-cut, crew-cut, buzzed, cropped",
        thing="a stubbly scalp, a buzz cut, a crew cut, a scalp shadow, a shadow of hair, hair stubble, scalp "
        "stubble, hair growing back, cropped hair, a military haircut, very short hair, stubbly hair, a "
        "buzzcut, head stubble, shaved dark hair, a number one haircut, hair on the head",
    ),
    Row(
        "smooth scalp",
        "scalp_hair -0.35>0",
        opposite="scalp_hair +0.35>0.8",
        true="scalp_hair 0..0.15",
        thing="a smooth scalp, a freshly shaved head, a cleanly shaved head, a clean-shaven head, a polished "
        "head, a shaved head, a shaven head, a waxed head",
        verb="shave the head, polish the head",
    ),
    # ------------------------------------------------------------------------------------------ beard
    Row(
        "stubble",
        "stubble +0.35>0.8",
        opposite=_SHAVEN,
        true="@stubble:stubble",
        strong="stubble 0.6..1",
        adj="stubbly, unshaven, scruffy, stubbled, unshaved, bristly, designer-stubbled",
        thing="stubble, five o'clock shadow, 5 o'clock shadow, a stubbly chin, three-day stubble, 3-day "
        "stubble, a three-day beard, designer stubble, beard stubble, beard shadow, a 3 day beard, "
        "bristles, a stubbly beard, scruff, facial stubble, a few days' growth, unshaven cheeks, a light "
        "stubble, three day stubble, a week's growth",
        verb="forget to shave",
    ),
    Row(
        "beard",
        "beard_chin +0.3>0.85; beard_cheeks +0.25>0.65; moustache +0.25>0.65; stubble +0.3>0.9",
        opposite=_SHAVEN,
        true="@beard_chin:a beard",
        never="beard_chin 0..0; beard_cheeks 0..0; moustache 0..0; stubble 0..0.02",
        adj="bearded, hirsute, whiskered, whiskery",
        thing="a beard, facial hair, a short beard, whiskers, beard hair, a trimmed beard, a medium beard, a "
        "boxed beard, a neat beard, a beard and moustache",
        verb="grow a beard, grow facial hair",
    ),
    Row(
        "full beard",
        _FULL_BEARD,
        opposite=_SHAVEN,
        true="@beard_chin:a full beard",
        adj="heavily bearded, full-bearded, thick-bearded, long-bearded",
        thing="a full beard, a thick beard, a bushy beard, a big beard, a long beard, a heavy beard, a dense "
        "beard, a huge beard, a lumberjack beard, a hipster beard, a wizard beard, a thicker beard, a "
        "fuller beard, a longer beard, a bigger beard, a bushier beard, a viking beard, a large beard, a "
        "denser beard, a full moustache and beard, a massive beard",
    ),
    Row(
        "goatee",
        "beard_chin +0.35>0.8; moustache +0.15>0.45; beard_cheeks -0.2>0",
        opposite=_SHAVEN,
        true="@beard_chin:a goatee",
        adj="goateed",
        thing="a goatee, a chin beard, a van dyke, a chin-beard, a van dyke beard, a goatee beard, a soul "
        "patch, chin whiskers, a chin tuft, a chin puff, a pointed beard, a circle beard, a chin strap, "
        "chin hair",
    ),
    Row(
        "moustache",
        "moustache +0.35>0.85",
        opposite="moustache -0.3>0",
        true="@moustache:a moustache",
        strong="moustache 0.65..1",
        never="moustache 0..0",
        adj="moustached, moustachioed, mustachioed",
        thing="a moustache, a mo, a tache, a stache, a walrus moustache, a handlebar moustache, a thick "
        "moustache, a pencil moustache, an upper-lip beard, a bushy moustache, a big moustache, a full "
        "moustache, hair on the upper lip, a thicker moustache, a tash, a movember moustache, a "
        "handlebar, a porn stache",
        verb="grow a moustache",
    ),
    Row(
        "sideburns",
        "beard_cheeks +0.35>0.8",
        opposite="beard_cheeks -0.3>0",
        true="@beard_cheeks:whiskers on the cheeks",
        adj="hairy-cheeked",
        thing="sideburns, whiskers on the cheeks, a beard on the cheeks, mutton chops, side whiskers, hairy "
        "cheeks, muttonchops, a cheek beard, mutton chop whiskers, sideboards, cheek whiskers, bearded "
        "cheeks, side burns",
    ),
    Row(
        "clean-shaven",
        _SHAVEN,
        opposite="stubble +0.35>0.7",
        true="@stubble:no beard",
        adj="clean-shaven, beardless, freshly shaven, smooth-shaven, shaved, shaven, well-shaven, "
        "smooth-cheeked, clean-shaved, bare-faced chin, freshly shaved",
        thing="a clean-shaven face, shaved cheeks, a shaven chin, a smooth chin, a shaved face, a shaven face, "
        "smooth cheeks, a smooth shave, a clean shave, a shave, a hairless face, a bare chin",
        verb="shave, shave off the beard, shave the beard, shave the face, get a shave, shave clean, shave it "
        "off, shave him, shave off facial hair, shave the beard off, trim off the beard",
    ),
    # ------------------------------------------------------------------------------------------ eyes
    Row(
        "blue eyes",
        "iris_melanin -0.2>0.02; iris_green -0.1>0.1",
        opposite="iris_melanin +0.4>0.8",
        true="@iris_melanin:blue eyes",
        adj="blue-eyed",
        thing="blue eyes, light blue eyes, bright blue eyes, ocean eyes, ice-blue eyes, sky-blue eyes, icy "
        "eyes, deep blue eyes, piercing blue eyes, baby blue eyes, bluer eyes, a blue iris, blue irises, "
        "blue eye color, dark blue eyes, sapphire eyes",
    ),
    Row(
        "green eyes",
        "iris_melanin -0.2>0.03; iris_green +0.35>0.95",
        opposite="iris_green -0.3>0.15; iris_melanin +0.3>0.75",
        true="@iris_melanin:green eyes",
        adj="green-eyed",
        thing="green eyes, emerald eyes, emerald green eyes, bright green eyes, cat-green eyes, greener eyes, "
        "jade eyes, green irises, a green iris, green eye color, light green eyes, dark green eyes, "
        "sea-green eyes",
    ),
    Row(
        "grey eyes",
        "iris_melanin =0.2; iris_green =0.05",
        opposite="iris_melanin +0.4>0.8",
        true="iris_melanin 0.13..0.28; iris_green 0..0.3",
        adj="grey-eyed",
        thing="grey eyes, steel-grey eyes, steel eyes, silver eyes, slate eyes, stormy eyes, grey irises, "
        "grey-blue eyes, blue-grey eyes, grey eye color, steely eyes",
    ),
    Row(
        "hazel eyes",
        "iris_melanin =0.41; iris_green =0.3",
        opposite="iris_melanin +0.3>0.8",
        true="@iris_melanin:hazel eyes",
        adj="hazel-eyed",
        thing="hazel eyes, nut-brown eyes, hazel irises, green-brown eyes, hazel eye color, greenish brown eyes",
    ),
    Row(
        "amber eyes",
        "iris_melanin =0.41; iris_green +0.35>0.95",
        opposite="iris_green -0.3>0.15; iris_melanin +0.2>0.8",
        true="@iris_melanin:amber eyes",
        adj="amber-eyed",
        thing="amber eyes, golden eyes, honey eyes, yellow eyes, wolf eyes, honey-colored eyes, amber irises, "
        "gold eyes, tiger eyes, yellowish eyes, golden brown eyes, honey-brown eyes, orange eyes",
    ),
    Row(
        "light eyes",
        "iris_melanin -0.35>0.12",
        opposite="iris_melanin +0.35",
        true="@iris_melanin:light eyes",
        adj="light-eyed, pale-eyed, bright-eyed",
        thing="light eyes, lighter eyes, pale eyes, bright eyes, brighter eyes, paler eyes, light-colored "
        "eyes, clear eyes",
        verb="lighten the eyes, brighten the eyes",
    ),
    Row(
        "brown eyes",
        "iris_melanin +0.25>0.78; iris_green =0.3",
        opposite="iris_melanin -0.4>0.2",
        true="@iris_melanin:brown eyes",
        adj="brown-eyed",
        thing="brown eyes, chestnut eyes, chocolate eyes, light brown eyes, brown irises, a brown iris, doe "
        "eyes, brown eye color, browner eyes, hazelnut eyes, coffee eyes",
    ),
    Row(
        "dark eyes",
        "iris_melanin +0.25>1",
        opposite="iris_melanin -0.4>0.4",
        true="@iris_melanin:dark eyes",
        adj="dark-eyed, black-eyed",
        thing="dark eyes, dark brown eyes, black eyes, darker eyes, deep brown eyes, nearly black eyes, "
        "jet-black eyes, dark irises, ebony eyes, dark eye color",
        verb="darken the eyes",
    ),
    # ------------------------------------------------------------------------------------------ make-up
    Row(
        "lipstick",
        "lipstick +0.3>0.8",
        opposite="lipstick -0.3>0",
        true="@lipstick:lipstick",
        strong="lipstick 0.65..1",
        never="lipstick 0..0",
        adj="lipsticked",
        thing="lipstick, painted lips, lip color, lip gloss, made-up lips, colored lips, lip makeup, glossy "
        "lips, lip stain, lip tint",
        verb="put on lipstick, wear lipstick, paint the lips, apply lipstick",
    ),
    Row(
        "red lipstick",
        "lipstick +0.3>0.9; lipstick_hue =0.5",
        opposite="lipstick -0.3>0",
        true="@lipstick:red lipstick",
        thing="red lipstick, scarlet lipstick, bright red lipstick, crimson lipstick, bright red lips, scarlet "
        "lips, red painted lips, ruby red lipstick, cherry lipstick, bold red lips, pink lipstick, "
        "blood-red lips, hot red lips, marilyn monroe lips",
    ),
    Row(
        "nude lipstick",
        "lipstick +0.3>0.75; lipstick_hue -0.35>0.05",
        opposite="lipstick_hue +0.35>0.5",
        true="@lipstick:nude lipstick",
        thing="nude lipstick, natural lipstick, beige lipstick, nude lips, a nude lip, neutral lipstick, "
        "skin-colored lipstick, subtle lipstick, brownish lipstick, beige lips, natural lips",
    ),
    Row(
        "plum lipstick",
        "lipstick +0.3>0.9; lipstick_hue +0.35>0.98",
        opposite="lipstick_hue -0.35>0.5",
        true="@lipstick:plum lipstick",
        thing="plum lipstick, dark lipstick, purple lipstick, plum lips, purple lips, burgundy lipstick, wine "
        "lipstick, violet lipstick, dark purple lips, black lipstick, vampy lips, mauve lipstick, berry "
        "lipstick, violet lips, maroon lipstick, burgundy lips, wine-red lips, berry lips, black lips",
    ),
    Row(
        "eyeliner",
        "eyeliner +0.35>0.85",
        opposite="eyeliner -0.3>0",
        true="@eyeliner:eyeliner",
        strong="eyeliner 0.6..1",
        never="eyeliner 0..0",
        thing="eyeliner, lined eyes, kohl, winged eyeliner, kajal, mascara, a cat eye, black eyeliner, eye "
        "makeup, cat eyes, winged liner, liner, kohl-rimmed eyes, guyliner, cleopatra eyes, rimmed eyes, "
        "lash liner",
        verb="line the eyes, put on mascara, put on eyeliner",
    ),
    Row(
        "eyeshadow",
        "eyeshadow +0.35>0.85",
        opposite="eyeshadow -0.3>0",
        true="@eyeshadow:eyeshadow",
        strong="eyeshadow 0.6..1",
        never="eyeshadow 0..0",
        thing="eyeshadow, smoky eyes, smokey eyes, shadowed eyelids, painted eyelids, a smoky eye, dark "
        "eyelids, colored eyelids, purple eyelids, glam eyes, dramatic eyes",
        verb="put on eyeshadow",
    ),
    Row(
        "blush",
        "blush +0.35>0.85",
        opposite="blush -0.3>0",
        true="@blush:blush",
        strong="blush 0.6..1",
        never="blush 0..0",
        thing="blush, blusher, rouge, blusher on the cheeks, blush on the cheeks, rouged cheeks, painted "
        "cheeks, cheek color, blush makeup",
        adj="rouged",
        verb="put on blush, apply blush",
    ),
    Row(
        "make-up",
        "lipstick +0.3>0.75; eyeliner +0.3>0.7; eyeshadow +0.25>0.55; blush +0.25>0.55",
        opposite=_BARE_FACE,
        true="lipstick 0.25..1; eyeliner 0.2..1",
        strong="lipstick 0.5..1; eyeliner 0.5..1; eyeshadow 0.3..1",
        adj="made-up, painted, glamorous, dolled up, glammed up",
        thing="make-up, heavy make-up, cosmetics, a painted face, glamour make-up, evening make-up, a made-up "
        "face, full make-up, bold make-up, party make-up, glam make-up, a makeover, full glam, war "
        "paint, bridal make-up, stage make-up",
        verb="put on make-up, wear make-up, apply make-up, do her make-up",
    ),
    Row(
        "no make-up",
        _BARE_FACE,
        opposite="lipstick +0.3>0.7; eyeliner +0.3>0.65; blush +0.2>0.45",
        true="@lipstick:a bare face",
        adj="bare-faced, barefaced, unpainted, natural-looking, makeup-free, without any makeup, natural",
        thing="a bare face, a natural look, a natural face, bare skin, zero make-up, a face free of make-up",
        verb="take off make-up, remove make-up, wash the face, wipe off the make-up, take off the make-up",
    ),
)

EXPRESSION_ROWS: tuple[Row, ...] = (
    Row(
        "smile",
        "mouthSmile +0.35>0.75; cheekSquint +0.1>0.25; mouthFrown =0",
        opposite="mouthSmile =0; cheekSquint =0",
        true="mean:mouthSmile 0.45..1; diff:mouthSmile 0..0.25",
        slight="mean:mouthSmile 0.2..0.42",
        strong="mean:mouthSmile 0.75..1",
        never="mean:mouthSmile 0..0.08",
        adj="smiling, smiley, smily, friendly, amiable, pleasant-looking, welcoming, nice, warm, kind, good-natured",
        comp="say cheese, cheese",
        thing="a smile, a friendly smile, a smiling face, a kind smile, a smiling mouth, a warm smile, a nice "
        "smile, a pleasant expression, a smiley face, mouth corners up, corners of the mouth up, a mona "
        "lisa smile, a closed-mouth smile, a friendly expression, a gentle smile, a smile on the face",
        verb="smile, say cheese, turn up the corners of the mouth",
    ),
    Row(
        "grin",
        "mouthSmile +0.4>0.9; mouthDimple +0.05>0.15; mouthUpperUp +0.15>0.3; mouthLowerDown +0.1>0.25; "
        "cheekSquint +0.2>0.4; mouthFrown =0",
        opposite="mouthSmile =0; mouthUpperUp =0; mouthLowerDown =0; cheekSquint =0",
        true="mean:mouthSmile 0.7..1; diff:mouthSmile 0..0.25",
        adj="grinning, beaming, grinning from ear to ear, smiling broadly, smiling widely, radiant, toothy",
        thing="a grin, a big smile, a broad smile, a wide smile, a beaming smile, a toothy smile, a wide grin, "
        "a big grin, a toothy grin, a hollywood smile, a dazzling smile, a huge smile, a bright smile, a "
        "bigger smile, a radiant smile, a broad grin, a wider smile, a smile from ear to ear, a cheesy "
        "smile, a large smile, an open smile, a happy smile",
        verb="grin, beam, smile broadly, smile widely, grin from ear to ear, show the teeth, smile from ear to ear",
    ),
    Row(
        "laugh",
        "mouthSmile +0.4>0.85; jawOpen +0.3>0.5; cheekSquint +0.3>0.6; eyeSquint +0.15>0.35; "
        "mouthUpperUp +0.15>0.3; mouthFrown =0",
        opposite="mouthSmile =0; jawOpen =0; cheekSquint =0",
        true="mean:mouthSmile 0.5..1; jawOpen 0.28..1; diff:mouthSmile 0..0.3",
        adj="laughing, giggling, laughing out loud, chuckling, cracking up, bursting with laughter, amused, "
        "hilarious, laughing hysterically, lol",
        thing="a laugh, a laughing face, laughter, a belly laugh, an open-mouthed smile, a laughing mouth, a "
        "giggle, a hearty laugh, an open-mouthed laugh",
        verb="laugh, giggle, laugh out loud, chuckle, crack up",
    ),
    Row(
        "happy",
        "mouthSmile +0.38>0.8; cheekSquint +0.25>0.5; browOuterUp +0.05>0.12; mouthFrown =0; browDown =0",
        opposite="mouthSmile =0; cheekSquint =0; mouthFrown +0.25>0.45; browInnerUp +0.2>0.35",
        true="mean:mouthSmile 0.5..1; mean:mouthFrown 0..0.15; mean:browDown 0..0.25; diff:mouthSmile 0..0.25",
        strong="mean:mouthSmile 0.8..1; mean:cheekSquint 0.3..1",
        adj="happy, cheerful, joyful, glad, jolly, pleased, merry, joyous, content, contented, cheery, in a "
        "good mood, optimistic, gleeful, jovial, satisfied, lucky, sunny, gay, upbeat, in good spirits, "
        "full of joy, blissful, proud and happy, sweet",
        thing="a happy face, a happy expression, a cheerful expression, joy, happiness, a joyful expression, a "
        "cheerful face, a happy look, good mood, a joyful face",
        comp="happier, cheered up",
        verb="cheer up, be happy, rejoice",
    ),
    Row(
        "delighted",
        "mouthSmile +0.4>0.9; cheekSquint +0.2>0.4; browOuterUp +0.25>0.45; browInnerUp +0.15>0.3; "
        "jawOpen +0.15>0.3; eyeWide +0.1>0.25; mouthFrown =0",
        opposite="gone",
        true="mean:mouthSmile 0.55..1; mean:browOuterUp 0.27..1; jawOpen 0.15..1",
        adj="delighted, ecstatic, overjoyed, thrilled, excited, elated, over the moon, euphoric, "
        "exhilarated, on cloud nine, jubilant, exuberant, enthusiastic, hyped, on top of the world, "
        "stoked, triumphant",
        thing="delight, excitement, a delighted expression, an excited expression, a delighted face, an excited face",
    ),
    Row(
        "smirk",
        "mouthSmileLeft +0.4>0.75; mouthSmileRight =0.05; mouthDimpleLeft +0.2>0.4; cheekSquintLeft "
        "+0.1>0.25; mouthFrown =0",
        opposite="mouthSmileLeft =0; mouthDimpleLeft =0",
        true="diff:mouthSmile 0.35..1",
        never="diff:mouthSmile 0..0.03; mean:mouthSmile 0..0.05",
        adj="smirking, smug, cocky, self-satisfied, mischievous, cheeky, sly, arrogant, conceited, ironic, "
        "sarcastic, roguish, impish, flirty, flirtatious",
        thing="a smirk, a lopsided smile, a crooked smile, a one-sided smile, a wry smile, a smug expression, "
        "a half smile, a smug smile, a sly smile, a lopsided grin, a crooked grin, a smug face, a "
        "crooked mouth",
        verb="smirk, smile on one side, smile with one side, flirt",
    ),
    Row(
        "frown",
        "mouthFrown +0.4>0.75; browDown +0.25>0.5; mouthShrugLower +0.05>0.15; mouthSmile =0",
        opposite="mouthFrown =0; browDown =0; mouthShrugLower =0",
        true="mean:mouthFrown 0.4..1; mean:browDown 0.25..1",
        never="mean:mouthFrown 0..0.05; mean:browDown 0..0.05",
        adj="frowning, grumpy, sullen, grim, scowling, glum, moody, morose, cranky, dour, surly, sulking, "
        "sulky, stern, in a bad mood, crabby, disapproving, bad-tempered, displeased, dissatisfied, "
        "grouchy, unfriendly, unsmiling",
        thing="a frown, a scowl, a grumpy face, a grim expression, a frowning face, a stern look, bad mood, a "
        "grumpy expression, a stern face, a scowling face, a frowny face, a sullen expression",
        verb="frown, scowl, sulk, grump",
    ),
    Row(
        "mouth corners down",
        "mouthFrown +0.45>0.8; mouthSmile =0",
        opposite="mouthFrown =0",
        true="mean:mouthFrown 0.45..1",
        slight="mean:mouthFrown 0.2..0.4",
        never="mean:mouthFrown 0..0.05",
        adj="down-mouthed, downturned",
        thing="a downturned mouth, mouth corners down, corners of the mouth down, a sad mouth, down-turned "
        "lips, drooping mouth corners, a frowning mouth, a turned-down mouth",
        verb="turn down the corners of the mouth, turn the mouth down",
    ),
    Row(
        "sad",
        "mouthFrown +0.35>0.65; browInnerUp +0.4>0.7; mouthShrugLower +0.1>0.25; mouthSmile =0",
        opposite="mouthFrown =0; browInnerUp =0; mouthShrugLower =0",
        true="mean:mouthFrown 0.35..1; browInnerUp 0.35..1; mean:mouthSmile 0..0.15",
        strong="mean:mouthFrown 0.6..1; browInnerUp 0.6..1",
        never="mean:mouthFrown 0..0.05; browInnerUp 0..0.05",
        adj="sad, unhappy, depressed, melancholy, gloomy, miserable, sorrowful, mournful, down, blue, upset, "
        "dejected, heartbroken, grieving, dismal, disappointed, downcast, wistful, melancholic, hurt, "
        "somber, sombre, crestfallen, forlorn, broken-hearted, lonely, hopeless, in grief, down in the "
        "dumps, despondent, devastated",
        comp="sadder, unhappier",
        thing="a sad face, a sad expression, sorrow, grief, sadness, a long sad face, a mournful expression, a "
        "melancholy look, a sad look, a gloomy expression, melancholia, depression, a sorrowful look",
    ),
    Row(
        "crying",
        "mouthFrown +0.35>0.7; browInnerUp +0.4>0.8; eyeSquint +0.3>0.6; mouthStretch +0.15>0.3; "
        "cheekSquint +0.15>0.3; jawOpen +0.05>0.15; mouthSmile =0; flush +0.05>0.5",
        opposite="gone",
        true="mean:mouthFrown 0.4..1; browInnerUp 0.45..1; mean:eyeSquint 0.3..1",
        adj="crying, weeping, sobbing, tearful, in tears, bawling, close to tears, on the verge of tears",
        thing="tears, a crying face, a tearful expression, a tear",
        verb="cry, weep, sob, burst into tears",
    ),
    Row(
        "angry",
        "browDown +0.45>0.9; noseSneer +0.15>0.35; mouthPress +0.15>0.35; eyeSquint +0.15>0.35; "
        "mouthFrown +0.1>0.25; mouthSmile =0",
        opposite="browDown =0; noseSneer =0; mouthPress =0; mouthFrown =0; eyeSquint =0",
        true="mean:browDown 0.45..1; mean:mouthSmile 0..0.15; mean:noseSneer 0.12..1",
        strong="mean:browDown 0.75..1; mean:noseSneer 0.3..1; mean:mouthSmile 0..0.15",
        never="mean:browDown 0..0.05",
        adj="angry, mad, cross, irritated, annoyed, irate, aggressive, hostile, fierce, wrathful, indignant, "
        "enraged, pissed off, evil, mean, threatening, menacing, ferocious, hot-tempered, angered, in a "
        "rage, seething, belligerent, resentful, vicious, malicious, wicked, hateful, steaming with anger",
        thing="an angry face, an angry expression, anger, an angry look, a mean look, an evil look, an angry "
        "stare, a menacing look, a death stare, an evil face",
        comp="angrier, madder",
        verb="glare, get angry, rage",
    ),
    Row(
        "furious",
        "browDown +0.45>1; noseSneer +0.3>0.65; mouthUpperUp +0.15>0.35; jawOpen +0.1>0.25; eyeWide "
        "+0.1>0.25; mouthFrown +0.1>0.3; mouthStretch +0.1>0.2; mouthSmile =0",
        opposite="gone",
        true="mean:browDown 0.65..1; mean:noseSneer 0.35..1; mean:mouthSmile 0..0.15",
        adj="furious, outraged, livid, raging, incensed, fuming, infuriated, beside themselves with anger, "
        "rabid, seeing red, snarling, growling, boiling with rage",
        thing="fury, rage, a furious face, a furious expression, a snarl",
        verb="snarl, growl",
    ),
    Row(
        "surprised",
        "eyeWide +0.4>0.8; browInnerUp +0.4>0.75; browOuterUp +0.35>0.7; jawOpen +0.2>0.4; browDown =0",
        opposite="eyeWide =0; browInnerUp =0; browOuterUp =0; jawOpen =0",
        true="mean:eyeWide 0.35..1; mean:browOuterUp 0.35..1",
        strong="mean:eyeWide 0.65..1; mean:browOuterUp 0.6..1; jawOpen 0.35..1",
        never="mean:eyeWide 0..0.05; mean:browOuterUp 0..0.05",
        adj="surprised, astonished, amazed, startled, shocked, stunned, astounded, baffled, speechless, "
        "flabbergasted, dumbstruck, wide-eyed with surprise, gobsmacked, in awe, awestruck, dumbfounded, "
        "taken aback, stupefied, thunderstruck, impressed",
        thing="a surprised face, a surprised expression, surprise, astonishment, a shocked expression, shock, "
        "amazement, a surprised look, a shocked face, a wow face, a look of surprise, an astonished look",
        comp="wow, omg",
    ),
    Row(
        "afraid",
        "eyeWide +0.4>0.85; browInnerUp +0.4>0.85; mouthStretch +0.3>0.55; jawOpen +0.1>0.2; browDown "
        "=0; mouthSmile =0",
        opposite="eyeWide =0; browInnerUp =0; mouthStretch =0; jawOpen =0",
        true="mean:eyeWide 0.35..1; browInnerUp 0.4..1; mean:mouthStretch 0.22..1",
        adj="afraid, scared, frightened, fearful, terrified, scared to death, horrified, panicked, "
        "petrified, alarmed, panicking, scared stiff, terror-stricken, in panic, spooked, "
        "panic-stricken, aghast, intimidated",
        thing="fear, terror, a scared face, a frightened expression, panic, a fearful expression, horror, a "
        "terrified look, a terrified face, a frightened face, fright, a scared look, a horrified look",
    ),
    Row(
        "worried",
        "browInnerUp +0.4>0.75; browDown +0.1>0.25; mouthPress +0.1>0.25; mouthFrown +0.1>0.25; mouthSmile =0",
        opposite="browInnerUp =0; mouthFrown =0; mouthPress =0; browDown =0",
        true="browInnerUp 0.45..1; mean:mouthSmile 0..0.15; mean:eyeWide 0..0.3",
        adj="worried, anxious, concerned, nervous, uneasy, troubled, stressed, apprehensive, desperate, "
        "distressed, tense, pleading, on edge, ashamed, guilty, apologetic, insecure, fretful, pained, "
        "in pain, suffering, overwhelmed, tormented, sorry",
        thing="a worried face, a worried look, a worried expression, a concerned expression, anxiety, worry, "
        "puppy eyes, puppy-dog eyes, a concerned look, an anxious look, inner brows up, stress, pain",
        verb="worry, plead",
    ),
    Row(
        "disgusted",
        "noseSneer +0.45>0.85; mouthUpperUp +0.3>0.55; browDown +0.2>0.4; mouthFrown +0.15>0.35; "
        "eyeSquint +0.1>0.3; mouthSmile =0",
        opposite="noseSneer =0; mouthUpperUp =0; browDown =0; mouthFrown =0; eyeSquint =0",
        true="mean:noseSneer 0.45..1; mean:mouthUpperUp 0.25..1",
        never="mean:noseSneer 0..0.05; mean:mouthUpperUp 0..0.05",
        adj="disgusted, repulsed, revolted, grossed out, sickened, appalled, nauseated, put off, repelled",
        thing="disgust, a disgusted face, a disgusted expression, revulsion, nausea, a look of disgust, a "
        "disgusted look",
        comp="smelling something bad, tasting something sour",
    ),
    Row(
        "sneer",
        "noseSneer +0.45>0.85; mouthUpperUp +0.25>0.45; mouthSmile =0",
        opposite="noseSneer =0; mouthUpperUp =0",
        true="mean:noseSneer 0.5..1",
        adj="sneering, snooty, haughty, scornful, derisive, snobbish",
        thing="a sneer, a wrinkled nose, a scrunched nose, a crinkled nose, a scrunched-up nose, a screwed-up "
        "nose, a nose wrinkle, a curled lip",
        verb="sneer, wrinkle the nose, scrunch the nose, turn up the nose, crinkle the nose, scrunch up the nose",
    ),
    Row(
        "contempt",
        "mouthSmileLeft +0.2>0.35; noseSneerLeft +0.25>0.5; mouthUpperUpLeft +0.15>0.3; mouthPress "
        "+0.1>0.25; eyeSquint +0.1>0.3",
        opposite="gone",
        adj="contemptuous, disdainful, condescending, dismissive, superior, mocking",
        thing="contempt, disdain, a contemptuous look",
    ),
    Row(
        "neutral",
        "all =0",
        opposite="mouthSmile +0.2>0.4",
        true=_CALM,
        adj="neutral, relaxed, expressionless, serious, calm, blank, emotionless, stoic, deadpan, impassive, "
        "resting, composed, unemotional, serene, peaceful, stone-faced, unmoved, indifferent, "
        "poker-faced, solemn, at ease, straight-faced, earnest, at rest, sober, unimpressed, cool, "
        "normal, default, tranquil, calmed down",
        thing="a neutral expression, a poker face, a straight face, a blank face, no expression, a neutral "
        "face, a serious face, a relaxed face, a serious expression, a passport photo expression, a calm "
        "expression, a resting face, a blank expression, no emotion, a serious look, a normal "
        "expression, a blank stare, a passport photo, no emotions",
        verb="relax, relax the face, calm down, drop the expression, chill",
    ),
    Row(
        "closed eyes",
        "eyeBlink +0.5>1; eyeWide =0",
        opposite="eyeBlink =0; eyeSquint =0",
        true="mean:eyeBlink 0.72..1",
        never="mean:eyeBlink 0..0.1",
        adj="asleep, sleeping, blinking, with shut eyes, eyes-closed, dreaming, meditating, unconscious, blindfolded",
        thing="closed eyes, shut eyes, closed eyelids, closed lids, lowered lids",
        clause="eyes closed, eyes shut, eyelids closed, eyelids down, both eyes closed",
        verb="close the eyes, shut the eyes, blink, sleep, fall asleep, close both eyes, dream",
    ),
    Row(
        "open eyes",
        "eyeBlink -0.3>0; eyeSquint -0.3>0; eyeWide +0.15>0.25",
        opposite="eyeBlink +0.4>0.7",
        true="mean:eyeBlink 0..0.05; mean:eyeWide 0.2..1",
        adj="awake, wide awake, alert, open-eyed, attentive",
        thing="open eyes, awake eyes, alert eyes",
        clause="eyes open",
        verb="open the eyes, wake up, awaken, open both eyes",
    ),
    Row(
        "eyes wide open",
        "eyeWide +0.4>0.85; eyeBlink =0; eyeSquint =0",
        opposite="eyeWide =0",
        true="mean:eyeWide 0.45..1",
        strong="mean:eyeWide 0.75..1",
        never="mean:eyeWide 0..0.05",
        adj="wide-eyed, staring, goggle-eyed, bug-eyed, pop-eyed, saucer-eyed, hypnotised",
        thing="wide-open eyes, wide eyes, staring eyes, bulging eyes, wide open eyes, widened eyes, popping "
        "eyes, eyes like saucers, big open eyes, a stare",
        clause="eyes wide open, eyes open wide, eyes wide",
        verb="widen the eyes, open the eyes wide, stare, open wide the eyes, gaze",
    ),
    Row(
        "squint",
        "eyeSquint +0.45>0.85; eyeBlink +0.05>0.12; cheekSquint +0.1>0.2; eyeWide =0",
        opposite="eyeSquint =0; eyeBlink =0; cheekSquint =0",
        true="mean:eyeSquint 0.45..1",
        slight="mean:eyeSquint 0.22..0.4",
        never="mean:eyeSquint 0..0.05",
        adj="squinting, narrow-eyed, squinty, peering, squinty-eyed, dazzled, blinded by the sun, short-sighted",
        thing="squinting eyes, narrowed eyes, squinty eyes, slitted eyes, screwed-up eyes, half-shut eyes, a "
        "squint, slits for eyes",
        clause="eyes narrowed, eyes squinted",
        verb="squint, narrow the eyes, screw up the eyes, peer, squint the eyes",
    ),
    Row(
        "wink left",
        "eyeBlinkLeft +0.5>1; eyeBlinkRight =0; cheekSquintLeft +0.2>0.4; mouthSmileLeft +0.1>0.25",
        opposite="eyeBlinkLeft =0; cheekSquintLeft =0",
        true="eyeBlinkLeft 0.6..1; eyeBlinkRight 0..0.35",
        adj="winking",
        thing="a wink, one eye closed, one eye shut, the left eye closed, a left wink, a closed left eye, a "
        "cheeky wink, the left eye shut, one closed eye, a winking eye",
        clause="one eye closed, left eye closed",
        verb="wink, wink left, wink with the left eye, close one eye, close the left eye, wink an eye, wink "
        "the left eye, shut one eye, give a wink, shut the left eye",
    ),
    Row(
        "wink right",
        "eyeBlinkRight +0.5>1; eyeBlinkLeft =0; cheekSquintRight +0.2>0.4; mouthSmileRight +0.1>0.25",
        opposite="eyeBlinkRight =0; cheekSquintRight =0",
        true="eyeBlinkRight 0.6..1; eyeBlinkLeft 0..0.35",
        thing="the right eye closed, a right wink, a closed right eye, the right eye shut",
        clause="right eye closed",
        verb="wink right, wink with the right eye, close the right eye, wink the right eye, shut the right eye",
    ),
    Row(
        "look left",
        "eyeLookOutLeft +0.4>0.8; eyeLookInRight +0.4>0.8; eyeLookInLeft =0; eyeLookOutRight =0",
        opposite="eyeLookOutLeft =0; eyeLookInRight =0",
        true="eyeLookOutLeft 0.4..1; eyeLookInRight 0.4..1",
        adj="looking left, looking to the left, glancing left, looking sideways, gazing left, side-eyed",
        thing="a sideways glance, eyes to the left, a look to the left, a side eye, averted eyes, a side glance",
        verb="look left, look to the left, glance left, look aside, look away, look sideways, turn the eyes "
        "left, move the eyes left, look to the side, eyes left",
    ),
    Row(
        "look right",
        "eyeLookOutRight +0.4>0.8; eyeLookInLeft +0.4>0.8; eyeLookInRight =0; eyeLookOutLeft =0",
        opposite="eyeLookOutRight =0; eyeLookInLeft =0",
        true="eyeLookOutRight 0.4..1; eyeLookInLeft 0.4..1",
        adj="looking right, looking to the right, glancing right, gazing right",
        thing="eyes to the right, a look to the right",
        verb="look right, look to the right, glance right, turn the eyes right, move the eyes right, eyes right",
    ),
    Row(
        "look up",
        "eyeLookUp +0.4>0.85; eyeLookDown =0",
        opposite="eyeLookUp =0",
        true="mean:eyeLookUp 0.45..1",
        adj="looking up, looking upwards, gazing up, eye-rolling, gazing at the sky, looking at the sky, "
        "looking at the ceiling",
        thing="eyes up, rolled eyes, an eye roll, eyes raised to heaven",
        verb="look up, look upwards, roll the eyes, glance up, look to the sky, look at the ceiling, turn the "
        "eyes up, raise the eyes, look at the sky, gaze up",
    ),
    Row(
        "look down",
        "eyeLookDown +0.4>0.85; eyeBlink +0.05>0.15; eyeLookUp =0",
        opposite="eyeLookDown =0; eyeBlink =0",
        true="mean:eyeLookDown 0.45..1",
        adj="looking down, looking downwards, gazing down, with downcast eyes, looking at the floor, bashful, timid",
        thing="downcast eyes, lowered eyes, eyes down, a lowered gaze",
        verb="look down, look downwards, lower the eyes, glance down, look at the floor, look at the ground, "
        "cast the eyes down, gaze down",
    ),
    Row(
        "look straight ahead",
        "eyeLookOut =0; eyeLookIn =0; eyeLookUp =0; eyeLookDown =0",
        opposite="eyeLookOutLeft +0.4>0.7; eyeLookInRight +0.4>0.7",
        adj="looking straight ahead, looking at the camera, looking at me, looking into the camera, looking forward",
        thing="a straight gaze, eye contact",
        verb="look straight ahead, look at the camera, look at me, look ahead, look forward, look into the "
        "camera, look straight, look at the viewer",
    ),
    Row(
        "cross-eyed",
        "eyeLookIn +0.4>0.85; eyeLookOut =0",
        opposite="eyeLookIn =0",
        true="eyeLookInLeft 0.4..1; eyeLookInRight 0.4..1",
        adj="cross-eyed, boss-eyed, looking at the own nose",
        thing="crossed eyes, cross eyes, a cast in the eye",
        verb="cross the eyes, look cross-eyed, look at the nose",
    ),
    Row(
        "wall-eyed",
        "eyeLookOut +0.4>0.8; eyeLookIn =0",
        opposite="eyeLookOut =0",
        true="eyeLookOutLeft 0.4..1; eyeLookOutRight 0.4..1",
        adj="wall-eyed, eyes looking apart",
        thing="diverging eyes",
        verb="look outwards, look apart",
    ),
    Row(
        "open mouth",
        "jawOpen +0.35>0.6; mouthClose =0",
        opposite="jawOpen =0",
        true="jawOpen 0.35..1",
        slight="jawOpen 0.12..0.28",
        strong="jawOpen 0.65..1",
        never="jawOpen 0..0.03",
        adj="open-mouthed, gaping, slack-jawed, agape, singing, talking, speaking, mouth-breathing",
        thing="an open mouth, an open jaw, a dropped jaw, parted lips, open lips, a gaping mouth, a slack jaw",
        clause="mouth open, jaw open, lips parted, mouth agape, lips apart, jaw dropped",
        verb="open the mouth, open the jaw, drop the jaw, gape, part the lips, say ah, sing, talk, speak, "
        "open up the mouth",
    ),
    Row(
        "wide open mouth",
        "jawOpen +0.5>0.95; mouthStretch +0.05>0.1",
        opposite="jawOpen =0",
        true="jawOpen 0.7..1",
        adj="yawning, screaming, shouting, yelling, howling, roaring, jaw-dropping, shrieking",
        thing="a wide open mouth, a yawn, a scream, a wide-open mouth, a roar",
        clause="mouth wide open, mouth open wide, jaw wide open",
        verb="open the mouth wide, yawn, scream, shout, yell, roar, howl, shriek, open wide, open the jaw wide",
    ),
    Row(
        "closed mouth",
        "jawOpen =0; mouthFunnel =0; mouthUpperUp =0; mouthLowerDown =0",
        opposite="jawOpen +0.35>0.5",
        true="jawOpen 0..0.03; mouthFunnel 0..0.1; mean:mouthUpperUp 0..0.1; mean:mouthLowerDown 0..0.1",
        adj="closed-mouthed, tight-mouthed, silent, quiet",
        thing="a closed mouth, closed lips, a shut mouth, closed jaws, sealed lips",
        clause="mouth closed, mouth shut, lips closed, lips together, lips sealed",
        verb="close the mouth, shut the mouth, close the lips, shut up, hide the teeth",
    ),
    Row(
        "lips held together",
        "mouthClose +0.4>0.6; jawOpen +0.3>0.5",
        opposite="mouthClose =0; jawOpen =0",
        true="mouthClose 0.35..1",
        adj="chewing",
        thing="lips together over an open jaw, a full mouth, a mouth full of food",
        verb="chew, chew gum, chew food, drop the jaw with closed lips",
    ),
    Row(
        "pout",
        "mouthShrugLower +0.35>0.6; mouthPucker +0.2>0.4; mouthFrown +0.05>0.2; mouthSmile =0",
        opposite="gone",
        true="mouthShrugLower 0.36..1; mouthPucker 0.24..1",
        adj="pouting, pouty, petulant, offended, huffy, miffed",
        thing="a pout, pouty lips, a pouting mouth, pouting lips, a stuck-out lower lip, a jutting lower lip",
        verb="pout, stick out the lower lip, push out the lower lip, stick out the bottom lip",
    ),
    Row(
        "kiss",
        "mouthPucker +0.5>0.9",
        opposite="mouthPucker =0",
        true="mouthPucker 0.5..1",
        never="mouthPucker 0..0.03",
        adj="kissing, puckered, duck-faced, puckering, blowing a kiss, smooching, air-kissing",
        thing="a kissing mouth, a duck face, puckered lips, kissing lips, pursed lips, a kissing face, duck "
        "lips, a kiss, a selfie face, a kissy face, a trout pout, a puckered mouth, a duckface, a smooch",
        verb="kiss, pucker, pucker the lips, purse the lips, blow a kiss, pucker up, give a kiss, smooch",
    ),
    Row(
        "rounded lips",
        "mouthFunnel +0.5>0.85; jawOpen +0.05>0.15",
        opposite="mouthFunnel =0; jawOpen =0",
        true="mouthFunnel 0.5..1",
        adj="blowing, ooh-ing, saying oh, singing a note, saying o",
        thing="rounded lips, an o-shaped mouth, a round mouth, a fish mouth, lips in an o, funnel lips, trumpet lips",
        verb="say oh, say ooh, round the lips, blow, blow out the candles, say o",
    ),
    Row(
        "whistle",
        "mouthPucker +0.4>0.8; mouthFunnel +0.3>0.5; cheekPuff +0.05>0.15",
        opposite="gone",
        adj="whistling",
        thing="a whistling mouth, a whistle",
        verb="whistle",
    ),
    Row(
        "tongue out",
        "tongueOut +0.5>1; jawOpen +0.2>0.35",
        opposite="tongueOut =0; jawOpen =0",
        true="tongueOut 0.45..1",
        never="tongueOut 0..0.03",
        adj="licking, tongue-out, sticking the tongue out, rude",
        thing="the tongue out, the tongue sticking out, a visible tongue, an extended tongue, a tongue, "
        "einstein's tongue",
        clause="tongue out, tongue sticking out, tongue hanging out",
        verb="stick the tongue out, stick out the tongue, show the tongue, lick the lips, put the tongue out, "
        "poke the tongue out, put out the tongue",
    ),
    Row(
        "raised brows",
        "browInnerUp +0.35>0.7; browOuterUp +0.45>0.85; browDown =0",
        opposite="browInnerUp =0; browOuterUp =0",
        true="mean:browOuterUp 0.45..1; browInnerUp 0.3..1",
        never="mean:browOuterUp 0..0.03",
        adj="eyebrow-raising, raising the brows, brow-raised",
        thing="raised brows, lifted brows, brows up, eyebrows raised, a wrinkled forehead, a lifted brow",
        clause="brows raised, brows up",
        verb="raise the brows, lift the brows, raise both brows, lift both brows",
    ),
    Row(
        "one raised brow",
        "browOuterUpLeft +0.5>0.95; browOuterUpRight =0; browDownRight +0.1>0.25",
        opposite="gone",
        true="browOuterUpLeft 0.5..1; browOuterUpRight 0..0.2",
        adj="quizzical",
        thing="one raised brow, a raised brow, a cocked brow, one brow up, a quizzical look, the left brow up, "
        "a raised left brow",
        clause="one brow raised, left brow raised",
        verb="raise one brow, cock a brow, lift one brow, raise a brow, raise the left brow",
    ),
    Row(
        "right brow up",
        "browOuterUpRight +0.5>0.95; browOuterUpLeft =0; browDownLeft +0.1>0.25",
        opposite="gone",
        true="browOuterUpRight 0.5..1; browOuterUpLeft 0..0.2",
        thing="the right brow up, a raised right brow",
        clause="right brow raised",
        verb="raise the right brow",
    ),
    Row(
        "knitted brows",
        "browDown +0.45>0.85",
        opposite="browDown =0",
        true="mean:browDown 0.5..1",
        never="mean:browDown 0..0.03",
        adj="frowning with the brows, glowering, brooding, concentrating, thoughtful, pensive, thinking",
        thing="furrowed brows, knitted brows, lowered brows, a furrowed brow, drawn-together brows, brows "
        "down, frowning brows, contracted brows, a knitted brow, angry brows",
        clause="brows lowered, brows furrowed, brows drawn together",
        verb="furrow the brows, knit the brows, lower the brows, concentrate, think, contract the brows, brood, glower",
    ),
    Row(
        "puffed cheeks",
        "cheekPuff +0.5>0.95",
        opposite="cheekPuff =0",
        true="cheekPuff 0.5..1",
        never="cheekPuff 0..0.03",
        adj="puffing, holding breath, puffed up, puff-cheeked, holding the breath",
        thing="puffed cheeks, puffed-out cheeks, inflated cheeks, hamster cheeks, blown-up cheeks, cheeks full "
        "of air, blown-out cheeks, a puffed-up face",
        clause="cheeks puffed, cheeks puffed out, cheeks blown up",
        verb="puff the cheeks, puff out the cheeks, hold breath, blow up the cheeks, inflate the cheeks, hold "
        "the breath, puff up the cheeks",
    ),
    Row(
        "raised cheeks",
        "cheekSquint +0.45>0.85",
        opposite="cheekSquint =0",
        true="mean:cheekSquint 0.6..1; mean:mouthSmile 0..0.3",
        adj="cheek-raising, wincing, flinching",
        thing="raised cheeks, squeezed cheeks, lifted cheeks, a wince",
        verb="raise the cheeks, wince, lift the cheeks, flinch, squeeze the cheeks",
    ),
    Row(
        "dimples",
        "mouthDimple +0.45>0.85",
        opposite="mouthDimple =0",
        true="mean:mouthDimple 0.5..1",
        adj="dimpled",
        thing="dimples, cheek dimples, dimpled cheeks, a dimple, dimples in the cheeks, tight mouth corners",
    ),
    Row(
        "stretched mouth",
        "mouthStretch +0.45>0.85",
        opposite="mouthStretch =0",
        true="mean:mouthStretch 0.5..1; mean:eyeWide 0..0.3",
        adj="grimacing, cringing, strained, awkward",
        thing="a stretched mouth, stretched lips, a grimace, lips pulled apart, a cringe, an awkward "
        "expression, an awkward face",
        verb="grimace, stretch the mouth, cringe, stretch the lips, pull the mouth apart, say eek",
    ),
    Row(
        "pressed lips",
        "mouthPress +0.45>0.85; mouthRollUpper +0.1>0.2; mouthRollLower +0.1>0.25",
        opposite="gone",
        true="mean:mouthPress 0.5..1",
        never="mean:mouthPress 0..0.03",
        adj="tight-lipped, tense-lipped, grim-lipped, holding back",
        thing="pressed lips, tight lips, compressed lips, lips pressed together, a tight mouth, pinched lips, "
        "pinched mouth",
        clause="lips pressed, lips pressed together, lips tight",
        verb="press the lips, press the lips together, tighten the lips, compress the lips",
    ),
    Row(
        "rolled-in lips",
        "mouthRollUpper +0.4>0.75; mouthRollLower +0.4>0.75",
        opposite="mouthRollUpper =0; mouthRollLower =0",
        true="mouthRollUpper 0.4..1; mouthRollLower 0.4..1",
        adj="toothless, lipless",
        thing="rolled-in lips, lips rolled in, sucked-in lips, hidden lips, lips sucked in",
        verb="roll in the lips, bite the lips, suck in the lips, roll the lips in, hide the lips",
    ),
    Row(
        "bitten lower lip",
        "mouthRollLower +0.45>0.85; mouthUpperUp +0.1>0.2",
        opposite="mouthRollLower =0; mouthUpperUp =0",
        true="mouthRollLower 0.5..1; mouthRollUpper 0..0.3",
        adj="lip-biting, biting the lower lip",
        thing="a bitten lip, a rolled-in lower lip, a bitten lower lip",
        verb="bite the lower lip, bite the bottom lip, roll in the lower lip",
    ),
    Row(
        "upper lip in",
        "mouthRollUpper +0.45>0.85",
        opposite="mouthRollUpper =0",
        true="mouthRollUpper 0.5..1; mouthRollLower 0..0.3",
        thing="a rolled-in upper lip, a hidden upper lip",
        verb="roll in the upper lip, bite the upper lip, hide the upper lip",
    ),
    Row(
        "raised chin skin",
        "mouthShrugLower +0.45>0.85",
        opposite="mouthShrugLower =0",
        true="mouthShrugLower 0.5..1; mouthPucker 0..0.2",
        adj="doubtful, shrugging, unsure",
        thing="a raised lower lip, a pushed-up lower lip, a shrug, a pushed-up chin, a chin raise",
        verb="push up the lower lip, shrug, raise the lower lip",
    ),
    Row(
        "raised upper lip",
        "mouthUpperUp +0.45>0.8",
        opposite="mouthUpperUp =0",
        true="mean:mouthUpperUp 0.5..1; mean:noseSneer 0..0.3",
        adj="gummy",
        thing="a raised upper lip, a lifted upper lip, visible upper teeth, bared upper teeth, a gummy smile",
        verb="raise the upper lip, lift the upper lip, show the upper teeth, bare the upper teeth",
    ),
    Row(
        "pushed-out upper lip",
        "mouthShrugUpper +0.45>0.85",
        opposite="mouthShrugUpper =0",
        true="mouthShrugUpper 0.5..1",
        thing="a pushed-out upper lip, a protruding upper lip, a shrugged upper lip",
        verb="push out the upper lip, stick out the upper lip",
    ),
    Row(
        "lowered lower lip",
        "mouthLowerDown +0.45>0.8",
        opposite="mouthLowerDown =0",
        true="mean:mouthLowerDown 0.5..1",
        thing="a lowered lower lip, visible lower teeth, bared lower teeth, a hanging lower lip, a drooping lower lip",
        verb="lower the lower lip, show the lower teeth, bare the lower teeth, pull down the lower lip",
    ),
    Row(
        "bared teeth",
        "mouthUpperUp +0.4>0.75; mouthLowerDown +0.4>0.75; mouthStretch +0.1>0.25",
        opposite="gone",
        true="mean:mouthUpperUp 0.45..1; mean:mouthLowerDown 0.45..1",
        adj="teeth-baring, baring the teeth",
        thing="bared teeth, visible teeth, clenched teeth, gritted teeth",
        clause="teeth bared, teeth visible",
        verb="bare the teeth, grit the teeth, clench the teeth",
    ),
    Row(
        "jaw forward",
        "jawForward +0.5>0.9",
        opposite="jawForward =0",
        true="jawForward 0.5..1",
        adj="bulldog-like, underbitten",
        thing="the jaw forward, an underbite, a jaw pushed forward, jaw thrust out",
        clause="jaw forward, jaw out",
        verb="push the jaw forward, stick out the jaw, stick out the chin, thrust out the jaw, move the jaw forward",
    ),
    Row(
        "jaw left",
        "jawLeft +0.5>0.9",
        opposite="jawLeft =0",
        true="jawLeft 0.5..1",
        thing="the jaw to the left, a jaw shifted left",
        clause="jaw left, jaw to the left",
        verb="move the jaw left, move the jaw to the left, shift the jaw left",
    ),
    Row(
        "jaw right",
        "jawRight +0.5>0.9",
        opposite="jawRight =0",
        true="jawRight 0.5..1",
        thing="the jaw to the right, a jaw shifted right",
        clause="jaw right, jaw to the right",
        verb="move the jaw right, move the jaw to the right, shift the jaw right",
    ),
    Row(
        "mouth left",
        "mouthLeft +0.5>0.9",
        opposite="mouthLeft =0",
        true="mouthLeft 0.5..1",
        thing="the mouth to the left, a mouth shifted left",
        clause="mouth left, mouth to the left",
        verb="move the mouth left, move the mouth to the left, pull the mouth left",
    ),
    Row(
        "mouth right",
        "mouthRight +0.5>0.9",
        opposite="mouthRight =0",
        true="mouthRight 0.5..1",
        thing="the mouth to the right, a mouth shifted right",
        clause="mouth right, mouth to the right",
        verb="move the mouth right, move the mouth to the right, pull the mouth right",
    ),
    Row(
        "sleepy",
        "eyeBlink +0.25>0.5; browInnerUp +0.05>0.15; eyeLookDown +0.05>0.15; under_eye +0.1>0.35",
        opposite="eyeBlink =0; eyeWide +0.1>0.2",
        true="mean:eyeBlink 0.3..0.7; mean:eyeSquint 0..0.35",
        adj="sleepy, drowsy, half-asleep, dozy, stoned, heavy-lidded, nodding off, about to fall asleep, "
        "half asleep, groggy, dreamy, just woken up, high",
        thing="sleepy eyes, half-closed eyes, heavy lids, heavy eyelids, bedroom eyes, drooping eyelids, "
        "droopy eyelids, hooded eyes, droopy eyes, drowsy eyes",
        clause="eyes half closed",
        verb="doze off, doze, nod off, half close the eyes",
    ),
    Row(
        "bored",
        "eyeBlink +0.18>0.35; mouthFrown +0.12>0.25; browInnerUp +0.05>0.12; eyeLookUp +0.05>0.12; mouthSmile =0",
        opposite="gone",
        true="mean:eyeBlink 0.2..0.6; mean:mouthFrown 0.14..0.5; mean:mouthSmile 0..0.1; mean:browDown 0..0.2",
        adj="bored, uninterested, apathetic, fed up, jaded, listless, lethargic, disinterested, "
        "unenthusiastic, bored to death",
        thing="a bored expression, boredom, a bored face, a bored look, apathy",
    ),
    Row(
        "suspicious",
        "eyeSquint +0.35>0.65; browDown +0.2>0.4; mouthPress +0.1>0.25; mouthSmile =0",
        opposite="gone",
        true="mean:eyeSquint 0.38..1; mean:browDown 0.22..0.75; mean:mouthSmile 0..0.15; mean:noseSneer 0..0.12",
        adj="suspicious, skeptical, sceptical, distrustful, wary, mistrustful, doubting, cautious, "
        "incredulous, jealous, envious, paranoid, unconvinced, cunning, scheming, disbelieving",
        thing="a suspicious look, suspicion, skepticism, a skeptical look, a distrustful look, a suspicious face",
    ),
    Row(
        "confused",
        "browDownLeft +0.25>0.5; browOuterUpRight +0.35>0.65; browInnerUp +0.1>0.25; mouthLeft "
        "+0.1>0.25; mouthFrown +0.1>0.2",
        opposite="gone",
        true="browDownLeft 0.3..1; browOuterUpRight 0.4..1",
        adj="confused, puzzled, perplexed, bewildered, clueless, lost, bemused, questioning, curious, "
        "nonplussed, mystified, dazed",
        thing="a confused look, a puzzled expression, confusion, a confused face, a questioning look, a puzzled look",
    ),
    Row(
        "determined",
        "browDown +0.3>0.55; mouthPress +0.3>0.6; jawForward +0.1>0.2; eyeSquint +0.1>0.2; mouthSmile =0",
        opposite="gone",
        true="mean:browDown 0.33..1; mean:mouthPress 0.36..1; mean:mouthSmile 0..0.15",
        adj="determined, resolute, focused, focussed, concentrated, stubborn, tough, decisive, firm-minded, "
        "steadfast, intense, brave, courageous, heroic, strong-willed, dominant, ruthless, strict, "
        "bossy, powerful",
        thing="a determined look, determination, a focused look, a determined expression, an intense look",
    ),
    Row(
        "proud",
        "mouthSmile +0.2>0.35; mouthPress +0.1>0.2; eyeBlink +0.05>0.15; browOuterUp +0.1>0.2; mouthFrown =0",
        opposite="gone",
        adj="proud, confident, self-confident, self-assured, assertive, noble, dignified",
        thing="pride, confidence, a proud look, a confident look, a confident expression, self-confidence",
    ),
)

LOOK_ROWS: tuple[Row, ...] = (
    # ------------------------------------------------------------------------------------------ moods of the body
    Row(
        "tired",
        "under_eye +0.3>0.8; eyeBlink +0.2>0.34; mouthFrown +0.05>0.15; sag +0.05; flush -0.05>0.2",
        opposite="under_eye -0.2>0.1; eyeBlink =0; mouthFrown =0",
        true="under_eye 0.5..1; mean:eyeBlink 0.18..0.7",
        strong="under_eye 0.7..1; mean:eyeBlink 0.3..0.7",
        adj="tired, weary, fatigued, worn out, sleep-deprived, tired-looking, overworked, careworn, "
        "jet-lagged, run-down, knackered, stressed out, beat, pooped, sleepless, in need of sleep, "
        "burned out, burnt out",
        thing="fatigue, a tired face, a tired look, a tired expression, weariness, tiredness, a weary look, no "
        "sleep, a lack of sleep",
    ),
    Row(
        "exhausted",
        "under_eye +0.3>0.85; eyeBlink +0.2>0.4; mouthFrown +0.12>0.25; sag +0.1; browInnerUp +0.1>0.2; "
        "flush -0.08>0.15; oiliness +0.1",
        opposite="under_eye -0.25>0.05; eyeBlink =0; mouthFrown =0",
        true="under_eye 0.7..1; mean:eyeBlink 0.25..0.7; mean:mouthFrown 0.15..1",
        adj="exhausted, dead tired, not slept, without sleep, not slept for days, up all night, dog-tired, "
        "drained, shattered, wiped out, utterly tired, spent, on their last legs",
        thing="exhaustion, an exhausted look, an exhausted face",
    ),
    Row(
        "rested",
        "under_eye -0.25>0.05; eyeBlink =0; flush +0.05>0.4; sag -0.05",
        opposite="under_eye +0.2>0.6; eyeBlink +0.15>0.3",
        true="under_eye 0..0.12",
        adj="rested, well-rested, refreshed, energetic, fresh, lively, full of energy, revitalised, "
        "revitalized, energised, vigorous",
    ),
    Row(
        "ill",
        "flush -0.25>0.03; lip_redness -0.3>0.15; under_eye +0.25>0.75; haemoglobin -0.2>0.2; melanin "
        "-0.03; eyeBlink +0.08>0.2; mouthFrown +0.05>0.15; oiliness +0.1; mottling +0.1",
        opposite="flush +0.2>0.5; lip_redness +0.15; under_eye -0.2>0.1; haemoglobin +0.1",
        true="flush 0..0.2; lip_redness 0..0.35; under_eye 0.5..1",
        adj="ill, sick, unwell, sickly, unhealthy, poorly, diseased, ailing, off-colour, sick-looking, under "
        "the weather, infirm, dying, terminally ill, feverish, dead, moribund, consumptive, frail, weak",
        person="patient, invalid",
        thing="illness, a sickly face, a disease, sickness, the flu, a cold, a sickly look, a sickly complexion",
    ),
    Row(
        "drunk",
        "flush +0.3>0.85; haemoglobin +0.15>0.6; eyeBlink +0.2>0.35; mouthSmile +0.1>0.25; jawOpen "
        "+0.03>0.08; oiliness +0.1; under_eye +0.1",
        opposite="flush -0.2>0.2; haemoglobin -0.1; eyeBlink =0",
        true="flush 0.7..1; mean:eyeBlink 0.25..0.6; haemoglobin 0.5..1",
        adj="drunk, tipsy, intoxicated, boozy, hungover, drunken, wasted, inebriated, hammered, plastered, hung over",
        person="drunk, drunkard, alcoholic, boozer, wino",
        thing="a hangover, a drunken look",
    ),
    Row(
        "healthy",
        "flush +0.12>0.5; under_eye -0.2>0.08; blemishes -0.2>0; mottling -0.2>0.2; lip_redness "
        "+0.1>0.6; haemoglobin +0.03",
        opposite="flush -0.2>0.08; under_eye +0.2>0.6; mottling +0.2; lip_redness -0.15",
        true="flush 0.45..0.7; under_eye 0..0.18; blemishes 0..0.02",
        adj="healthy, fit, healthy-looking, in good health, sporty, wholesome, well, in great shape, vital, "
        "hale and hearty",
        comp="better, fitter",
        thing="health, a healthy look, a healthy glow, good health, a healthy complexion",
    ),
    Row(
        "attractive",
        "wrinkles -0.15>0; blemishes -0.2>0; mottling -0.25>0.12; under_eye -0.15>0.08; sag -0.1>0; "
        "lips_fullness +0.6; cheekbones +0.9; eye_size +0.4; pores -0.1; weight -0.05",
        opposite="mottling +0.2; blemishes +0.15; under_eye +0.15; cheekbones -0.8",
        adj="attractive, good-looking, gorgeous, stunning, sexy, hot, lovely, pretty, charming, photogenic, "
        "cute, beautiful, seductive, alluring, fit and pretty, elegant, adorable, breathtaking, "
        "appealing, stylish, angelic",
        comp="prettier, hotter, cuter, better looking",
        person="beauty, beauty queen, stunner, hottie, babe",
        thing="beauty, good looks, a pretty face, a beautiful face, sex appeal",
        verb="beautify, prettify",
    ),
    Row(
        "handsome",
        "jaw_width +0.8; chin_projection +0.8; cheekbones +0.8; blemishes -0.2>0; mottling -0.2>0.2; "
        "under_eye -0.15>0.1; brow_thickness +0.08; sag -0.1>0",
        opposite="jaw_width -0.7; chin_projection -0.7; cheekbones -0.7; mottling +0.15",
        adj="handsome, dashing, debonair, chiselled, chiseled, suave, hunky, dapper",
        person="hunk, heart-throb, heartthrob, prince charming, chad, gigachad, superman, hero",
        thing="a chiselled face, chiselled features, a handsome face, chiseled features",
    ),
    Row(
        "rugged",
        "stubble +0.25>0.55; jaw_width +0.9; pores +0.2>0.75; wrinkles +0.1>0.25; brow_thickness +0.12; "
        "chin_projection +0.5; melanin +0.03",
        opposite="stubble -0.3>0; jaw_width -0.7; pores -0.2; wrinkles -0.1",
        true="gender 0.6..1; stubble 0.25..1; pores 0.55..1",
        adj="rugged, rough, tough-looking, outdoorsy, hard-bitten, grizzled and tough, hardened, rough "
        "around the edges, wild, untamed, muscular, strong, buff, brawny, sturdy",
        thing="rugged features, a rugged face, rough features, strong features, muscles",
    ),
    Row(
        "baby-face",
        "age_years -12>20; cheekbones -0.6; weight +0.08; eye_size +0.9; chin_length -0.7; nose_length "
        "-0.7; wrinkles -0.2>0; stubble -0.3>0; beard_chin -0.3>0; face_length -0.5",
        opposite=_OLDER,
        adj="doll-like, cherubic, baby-like, kawaii, anime-like, innocent, innocent-looking",
        person="doll, cherub, anime character, barbie, anime girl, cartoon character, disney princess, angel, princess",
        thing="a doll face, a cherub's face, a baby-like face, innocence, anime eyes",
    ),
    # ------------------------------------------------------------------------------------------ characters
    Row(
        "grandmother",
        "gender -0.5>0.06; age_years +20>76; wrinkles +0.25>0.6; sag +0.2>0.5; grey +0.3>0.95; age_spots "
        f"+0.15>0.35; {_SHAVEN}",
        opposite="age_years -20>28; wrinkles -0.3>0; grey -0.4>0; sag -0.2>0",
        true="gender 0..0.3; age_years 66..85",
        person="grandmother, grandma, granny, nana, old lady, old woman, gran, nan, little old lady, elderly "
        "lady, elderly woman, babushka, nanna, great-grandmother, dowager, matriarch, crone, senior lady",
        adj="grandmotherly, matronly",
    ),
    Row(
        "grandfather",
        "gender +0.5>0.95; age_years +20>76; wrinkles +0.25>0.65; sag +0.2>0.5; grey +0.3>0.95; "
        f"age_spots +0.15>0.35; recession +0.25>0.5; {_BARE_FACE}",
        opposite="age_years -20>28; wrinkles -0.3>0; grey -0.4>0; sag -0.2>0",
        true="gender 0.7..1; age_years 66..85",
        person="grandfather, grandpa, granddad, old man, gramps, elderly man, elderly gentleman, grandad, old "
        "gentleman, old guy, great-grandfather, old geezer, patriarch, old fellow, granddaddy, old chap, "
        "old bloke",
        adj="grandfatherly",
    ),
    Row(
        "sailor",
        "gender +0.3>0.95; beard_chin +0.3>0.75; beard_cheeks +0.2>0.5; moustache +0.2>0.5; wrinkles "
        f"+0.15>0.4; melanin +0.06>0.26; flush +0.15>0.6; mottling +0.1; pores +0.1; {_BARE_FACE}",
        opposite=_SHAVEN,
        true="gender 0.7..1; beard_chin 0.3..1; wrinkles 0.28..1",
        person="sailor, sea captain, seaman, fisherman, captain, skipper, old salt, sea dog, mariner, seafarer, "
        "captain haddock, popeye, ship's captain, whaler",
        adj="seafaring",
    ),
    Row(
        "pirate",
        "gender +0.3>0.95; stubble +0.3>0.6; moustache +0.25>0.6; beard_chin +0.2>0.5; scars +0.3>0.75; "
        "melanin +0.06>0.3; wrinkles +0.1>0.25; eyeliner +0.1>0.25; mouthSmileLeft +0.05>0.15; "
        "hair_melanin +0.02>0.95; grey =0",
        opposite=f"{_SHAVEN}; scars -0.3>0",
        true="gender 0.7..1; scars 0.2..1; beard_chin 0.2..1",
        person="pirate, buccaneer, corsair, jack sparrow, pirate captain, outlaw, bandit, gangster, criminal, "
        "thug, villain, mobster, convict",
        adj="piratical, criminal, villainous",
    ),
    Row(
        "viking",
        f"gender +0.3>0.97; {_FULL_BEARD}; european =0.95; african =0.02; asian =0.03; melanin -0.1>0.14; "
        "hair_melanin -0.2>0.3; hair_redness +0.1>0.3; grey =0; scars +0.1>0.3; iris_melanin -0.2>0.05; "
        "jaw_width +0.7; brow_thickness +0.1; browDown +0.05>0.15",
        opposite=f"{_SHAVEN}; jaw_width -0.5",
        true="gender 0.7..1; beard_chin 0.5..1; european 0.5..1; melanin 0..0.3",
        person="viking, barbarian, norseman, warrior, thor, berserker, viking warrior, norse god, ragnar, "
        "dwarf, celtic warrior, highlander",
    ),
    Row(
        "lumberjack",
        f"gender +0.3>0.96; {_FULL_BEARD}; weight +0.1>0.6; brow_density +0.1; flush +0.08>0.5; jaw_width "
        "+0.5; grey -0.1",
        opposite=_SHAVEN,
        true="gender 0.7..1; beard_chin 0.6..1; beard_cheeks 0.35..1",
        person="lumberjack, woodcutter, hipster, mountain man, biker, caveman, trucker, hermit, castaway, "
        "hagrid, woodsman, neanderthal, robinson crusoe, bear",
    ),
    Row(
        "santa",
        f"gender +0.3>0.96; age_years +15>72; {_FULL_BEARD}; grey +0.3>1; weight +0.25>0.85; flush "
        "+0.3>0.85; mouthSmile +0.2>0.4; cheekSquint +0.1>0.2; wrinkles +0.15>0.35",
        opposite=f"{_SHAVEN}; weight -0.25; grey -0.4>0",
        true="gender 0.7..1; beard_chin 0.5..1; grey 0.85..1; age_years 58..85",
        person="santa, santa claus, father christmas, st nicholas, saint nick, saint nicholas",
    ),
    Row(
        "wizard",
        f"gender +0.3>0.95; age_years +15>76; {_FULL_BEARD}; grey +0.3>1; wrinkles +0.2>0.6; weight "
        "-0.1>0.35; brow_density +0.15>0.85; nose_length +0.7",
        opposite=f"{_SHAVEN}; age_years -20",
        true="gender 0.7..1; beard_chin 0.5..1; grey 0.85..1; age_years 66..85; weight 0..0.55",
        person="wizard, gandalf, dumbledore, merlin, prophet, sorcerer, druid, magician, philosopher, god, "
        "zeus, moses, saint",
    ),
    Row(
        "witch",
        "gender -0.4>0.1; age_years +15>74; wrinkles +0.25>0.6; nose_length +1.6; nose_bridge +1.2; "
        f"chin_length +1.2; moles +0.3>0.6; grey +0.2>0.7; cheekbones +0.6; weight -0.2>0.2; {_SHAVEN}",
        opposite="age_years -20; nose_length -1.2; chin_length -1; moles -0.3>0",
        person="witch, hag, sorceress, baba yaga, wicked witch, old witch",
        adj="witchy, witch-like",
    ),
    Row(
        "monk",
        f"gender +0.3>0.9; recession +0.25>0.6; {_SHAVEN}; {_BARE_FACE}; scalp_hair +0.1>0.5",
        opposite="recession -0.3>0",
        person="monk, priest, buddhist monk, friar, nun, pope, bishop, clergyman, vicar, pastor",
        adj="monkish, pious",
    ),
    Row(
        "soldier",
        f"gender +0.25>0.92; jaw_width +0.8; chin_projection +0.6; scalp_hair +0.2>0.65; {_SHAVEN}; "
        "browDown +0.1>0.2; mouthPress +0.08>0.18; melanin +0.04; weight -0.03",
        opposite="jaw_width -0.6; browDown =0; mouthPress =0",
        person="soldier, marine, policeman, police officer, cop, commando, officer, general, army man, special "
        "forces soldier, bouncer, bodyguard, fireman, firefighter, agent, secret agent, drill sergeant, "
        "guard, knight, terminator, action hero",
        adj="military, soldierly",
    ),
    Row(
        "boxer",
        "gender +0.25>0.92; nose_width +1.3; nose_bridge -1; jaw_width +1.1; scars +0.25>0.55; "
        "brow_thickness +0.08; browDown +0.1>0.25; flush +0.1>0.5; chin_projection +0.5",
        opposite="nose_width -1; jaw_width -0.8; scars -0.3>0; browDown =0",
        person="boxer, fighter, wrestler, rugby player, prizefighter, mma fighter, bruiser, gladiator, "
        "bodybuilder, athlete, footballer, sportsman, thai boxer, sumo wrestler",
        adj="broken-nosed, pugilistic",
        thing="a broken nose, a boxer's nose",
    ),
    Row(
        "businessman",
        f"gender +0.25>0.92; age_years =46; {_SHAVEN}; {_BARE_FACE}; grey =0.25; under_eye +0.03; "
        "recession +0.1>0.2; blemishes -0.1>0",
        opposite="stubble +0.25>0.5; grey -0.2>0",
        person="businessman, manager, banker, politician, lawyer, boss, ceo, executive, president, diplomat, "
        "professor, doctor, scientist, teacher, accountant, office worker, clerk, james bond, butler",
    ),
    Row(
        "businesswoman",
        "gender -0.4>0.06; age_years =42; lipstick +0.2>0.5; lipstick_hue =0.35; eyeliner +0.15>0.35; "
        f"blush +0.1>0.2; {_SHAVEN}; blemishes -0.1>0",
        opposite=_BARE_FACE,
        person="businesswoman, secretary, stewardess, news anchor, female boss, female executive, nurse",
    ),
    Row(
        "farmer",
        "melanin +0.08>0.3; haemoglobin +0.15>0.62; flush +0.15>0.6; wrinkles +0.15>0.4; stubble "
        "+0.15>0.35; age_spots +0.12>0.3; gender +0.15>0.85; pores +0.1; weight +0.05; age_years +5>50; "
        "mottling +0.1",
        opposite="haemoglobin -0.15; flush -0.15; wrinkles -0.15>0",
        true="gender 0.7..1; age_years 45..85; wrinkles 0.3..1; haemoglobin 0.55..1",
        person="farmer, cowboy, peasant, labourer, laborer, construction worker, gardener, rancher, redneck, "
        "builder, shepherd, miner, blacksmith, gunslinger, ranger",
        adj="rustic, rural",
    ),
    Row(
        "model",
        "cheekbones +1.3; lips_fullness +0.8; weight -0.15>0.3; blemishes -0.2>0; mottling -0.25>0.12; "
        "wrinkles -0.2>0; eye_size +0.5; under_eye -0.15>0.08; jaw_width -0.2; age_years -8>23; sag "
        "-0.1>0",
        opposite="cheekbones -1; mottling +0.2; blemishes +0.15",
        person="model, fashion model, supermodel, film star, movie star, actress, actor, celebrity, runway "
        "model, hollywood star, pop star, influencer, popstar, idol, k-pop star, beauty model, cover girl",
    ),
    Row(
        "diva",
        "lipstick +0.3>0.95; lipstick_hue =0.5; eyeliner +0.3>0.9; eyeshadow +0.3>0.8; blush +0.25>0.6; "
        f"gender -0.3>0.08; brow_arch +0.25>0.8; brow_thickness -0.1; lips_fullness +0.5; {_SHAVEN}",
        opposite=_BARE_FACE,
        true="gender 0..0.3; lipstick 0.5..1; eyeliner 0.5..1; eyeshadow 0.4..1",
        person="diva, drag queen, showgirl, opera singer, glamour girl, burlesque dancer, cabaret dancer, vamp, "
        "queen, cleopatra, femme fatale, movie diva, it girl, marilyn monroe",
    ),
    Row(
        "goth",
        "melanin -0.15>0.05; eyeliner +0.35>0.95; eyeshadow +0.35>0.9; lipstick +0.35>0.9; lipstick_hue "
        "+0.3>1; hair_melanin +0.05>1; grey =0; hair_redness =0; flush -0.15>0.1",
        opposite=f"{_BARE_FACE}; melanin +0.15",
        true="melanin 0..0.17; eyeliner 0.45..1; lipstick 0.3..1; lipstick_hue 0.75..1",
        adj="goth, gothic, emo",
        person="goth, emo, punk, punk rocker, rock star, rocker, metalhead, alice cooper, marilyn manson",
        thing="goth makeup, emo makeup, gothic make-up",
    ),
    Row(
        "vampire",
        "melanin -0.2>0.02; haemoglobin -0.2>0.2; flush -0.25>0.02; lip_redness +0.3>0.95; lipstick "
        "+0.05>0.2; under_eye +0.25>0.65; hair_melanin +0.05>1; grey =0; cheekbones +0.8; brow_arch "
        "+0.15; weight -0.1>0.3",
        opposite="melanin +0.2; haemoglobin +0.15; flush +0.2; under_eye -0.2>0.1",
        true="melanin 0..0.1; flush 0..0.25; under_eye 0.4..1",
        adj="vampire-pale, vampiric, vampirish, vampire-like, undead-looking",
        person="vampire, dracula, nosferatu, count dracula, edward cullen",
    ),
    Row(
        "zombie",
        "haemoglobin -0.3>0.05; flush -0.25>0; under_eye +0.4>1; lip_redness -0.4>0; mottling +0.35>1; "
        "weight -0.25>0.15; scars +0.25>0.6; melanin -0.08; sag +0.15>0.4; jawOpen +0.1>0.2; blemishes "
        "+0.2>0.4; eyeBlink +0.05>0.15",
        opposite="haemoglobin +0.2; flush +0.25; under_eye -0.3>0.1; mottling -0.3>0.2; lip_redness +0.2",
        true="haemoglobin 0..0.25; under_eye 0.65..1; mottling 0.65..1",
        adj="zombified, undead, corpse-like, deathly, zombie-like, ghoulish, rotten",
        person="zombie, corpse, ghoul, walking dead, monster, mummy, frankenstein, undead, skeleton, dead "
        "person, frankenstein's monster",
    ),
    Row(
        "ghost",
        "melanin -0.25>0; haemoglobin -0.25>0.1; flush -0.25>0; lip_redness -0.3>0.05; under_eye +0.15>0.5",
        opposite="melanin +0.2; haemoglobin +0.2; flush +0.2",
        person="ghost, spirit, spectre, specter, albino, snowman",
        adj="albino, spectral, ghostlike",
    ),
    Row(
        "elf",
        "ears_size +2.4; chin_length +0.7; jaw_width -1.2; cheekbones +1.1; eye_size +0.7; weight "
        f"-0.15>0.3; wrinkles -0.2>0; blemishes -0.2>0; brow_arch +0.15; {_SHAVEN}",
        opposite="ears_size -2; jaw_width +1; cheekbones -0.8",
        adj="elfin, elvish, elven, pixie-like, elf-like",
        person="elf, pixie, fairy, legolas, vulcan, spock, hobbit, elven prince, galadriel, house elf",
        thing="elf ears, pointy ears, pointed ears",
    ),
    Row(
        "goblin",
        "ears_size +2.2; nose_length +1.8; nose_width +1; chin_length +1.2; wrinkles +0.25>0.6; moles "
        "+0.2>0.4; eye_size -0.6; mottling +0.2",
        opposite="ears_size -1.8; nose_length -1.5; chin_length -1",
        person="goblin, orc, troll, gnome, ogre, imp, leprechaun, gremlin, yoda, shrek",
    ),
    Row(
        "alien",
        "eye_size +2.4; eye_spacing +1; nose_width -1.2; nose_length -1; mouth_width -1.3; chin_length "
        "+0.8; jaw_width -1.4; forehead_height +1.8; lips_fullness -0.8; ears_size -1.2",
        opposite="eye_size -2; forehead_height -1.5; jaw_width +1",
        person="alien, extraterrestrial, martian, et",
        adj="alien, otherworldly, extraterrestrial",
    ),
    Row(
        "clown",
        "lipstick +0.4>1; lipstick_hue =0.5; blush +0.4>1; eyeshadow +0.4>0.95; eyeliner +0.2>0.6; "
        "melanin -0.2>0.02; mouthSmile +0.2>0.4; flush +0.2>0.6",
        opposite=f"{_BARE_FACE}; mouthSmile =0",
        true="lipstick 0.7..1; blush 0.5..1; eyeshadow 0.45..1",
        adj="clownish, clown-like",
        person="clown, joker, jester, the joker, harlequin, mime, ronald mcdonald, circus clown, pierrot, pennywise",
        thing="clown makeup, clownish make-up, a clown face, theatre make-up",
    ),
    Row(
        "geisha",
        "melanin -0.2>0.02; lipstick +0.35>1; lipstick_hue =0.5; eyeliner +0.3>0.8; blush +0.2>0.4; "
        "asian =0.95; african =0.02; european =0.03; gender -0.4>0.05; brow_thickness -0.15; "
        f"hair_melanin +0.02>1; grey =0; {_SHAVEN}",
        opposite=_BARE_FACE,
        person="geisha, maiko, porcelain doll",
    ),
    Row(
        "nerd",
        "blemishes +0.2>0.4; weight -0.15>0.3; melanin -0.05; eye_size +0.3; chin_projection -1; "
        "jaw_width -0.7; browInnerUp +0.05>0.12; gender +0.05",
        opposite="chin_projection +1; jaw_width +0.7; blemishes -0.2>0",
        person="nerd, geek, gamer, bookworm, programmer, weakling, wimp",
        adj="nerdy, geeky",
    ),
    Row(
        "hobo",
        "beard_chin +0.25>0.6; beard_cheeks +0.2>0.45; moustache +0.2>0.45; stubble +0.2>0.5; under_eye "
        "+0.2>0.6; wrinkles +0.15>0.4; mottling +0.15>0.7; oiliness +0.15>0.6; melanin +0.05; weight "
        "-0.08; age_spots +0.1>0.2",
        opposite=f"{_SHAVEN}; under_eye -0.2>0.1",
        person="hobo, homeless person, tramp, vagabond, beggar, homeless man, drifter, junkie, drug addict, "
        "addict, castaway survivor",
        adj="homeless, dishevelled, disheveled, unkempt, ragged, neglected, run down by life",
    ),
    Row(
        "chinese emperor",
        "asian =0.95; african =0.02; european =0.03; gender +0.3>0.95; moustache +0.25>0.6; beard_chin "
        "+0.3>0.6; beard_cheeks -0.2>0; hair_melanin +0.02>1; iris_melanin +0.05>0.95; browDown "
        "+0.08>0.15",
        opposite=_SHAVEN,
        person="samurai, ninja, kung fu master, emperor, shogun, chinese emperor, sensei, genghis khan, "
        "confucius, bruce lee",
    ),
    Row(
        "king",
        "gender +0.25>0.92; beard_chin +0.3>0.7; beard_cheeks +0.2>0.45; moustache +0.25>0.6; age_years "
        "=52; jaw_width +0.5; brow_thickness +0.08; browDown +0.05>0.1",
        opposite=_SHAVEN,
        person="king, nobleman, aristocrat, sultan, roman emperor, jesus, lord, duke, musketeer, d'artagnan, "
        "prophet-king",
        adj="kingly, regal, royal, aristocratic",
    ),
)

CONCEPT_ROWS: tuple[Row, ...] = (*PEOPLE_ROWS, *SKIN_ROWS, *HAIR_ROWS, *EXPRESSION_ROWS, *LOOK_ROWS)


@dataclass(frozen=True)
class Part:
    """A part of the face and what can be said of its size. names: its nouns, as people write them; the first is used in
    captions. senses: which way (a key of `SENSES`) -> moves. extra: sense -> further phrases, as things."""

    names: str
    senses: dict[str, str]
    extra: dict[str, str]


# Which way -> adjectives, and verbs of commands ("widen the nose"). Comparatives are made by rule.
SENSES: dict[str, tuple[str, str]] = {
    "wide": (
        "wide, broad, widened",
        "widen, broaden",
    ),
    "narrow": (
        "narrow, slim, slender, narrowed",
        "narrow, slim, slim down, make narrow",
    ),
    "big": (
        "big, large, huge, enormous, massive, giant, gigantic, oversized, enlarged",
        "enlarge, increase, expand, grow, magnify",
    ),
    "small": (
        "small, little, tiny, petite, dainty, miniature, reduced",
        "shrink, reduce, decrease, minimise, minimize",
    ),
    "long": (
        "long, elongated, stretched, lengthened",
        "lengthen, elongate, extend, stretch",
    ),
    "short": (
        "short, stubby, shortened",
        "shorten",
    ),
    "full": (
        "full, plump, thick, fleshy, voluminous, luscious, plumped-up",
        "plump, plump up, thicken, fill, fill up, pump up, inject",
    ),
    "thin": (
        "thin, fine, skinny, thinned",
        "thin, thin out, flatten",
    ),
    "high": (
        "high, tall, elevated",
        "raise, lift, heighten, move up",
    ),
    "low": (
        "low, lowered",
        "lower, drop, move down",
    ),
    "strong": (
        "strong, prominent, pronounced, powerful, defined, bold, accentuated",
        "strengthen, define, accentuate, emphasise, emphasize, sharpen",
    ),
    "weak": (
        "weak, soft, subtle, delicate, undefined, faint",
        "weaken, soften",
    ),
    "round": (
        "round, rounded, moon",
        "round",
    ),
    "square": (
        "square, angular, boxy",
        "square",
    ),
    "pointed": (
        "pointed, pointy, sharp",
        "sharpen, point",
    ),
    "flat": (
        "flat, flattened",
        "flatten",
    ),
}  # fmt: skip

PARTS: tuple[Part, ...] = (
    Part(
        "nose, nostrils",
        {
            "wide": "nose_width +1.4",
            "narrow": "nose_width -1.4",
            "long": "nose_length +1.4",
            "short": "nose_length -1.4",
            "big": "nose_width +1.5; nose_length +1.4",
            "small": "nose_width -1.5; nose_length -1.4",
            "thin": "nose_width -1.4",
            "full": "nose_width +1.7",
            "flat": "nose_bridge -1.9",
            "high": "nose_bridge +1.4",
            "low": "nose_bridge -1.4",
            "strong": "nose_bridge +1.4; nose_length +0.9; nose_width +0.4",
            "weak": "nose_bridge -1; nose_length -0.9; nose_width -0.4",
            "pointed": "nose_width -1.5; nose_length +0.8",
            "round": "nose_width +1.4; nose_length -0.6",
        },
        {
            "long": "a pinocchio nose, a long schnoz",
            "wide": "flared nostrils, a bulbous nose, flaring nostrils, a potato nose",
            "short": "a button nose, an upturned nose, a snub nose, a turned-up nose, a stub nose, a pug nose",
            "small": "a cute nose, a nose job, a delicate nose, rhinoplasty, a smaller schnoz",
            "big": "a big schnoz, a honker, a bigger schnoz, a clown nose, a beak, a hooter, a conk",
            "strong": "a hooked nose, a roman nose, an aquiline nose, an eagle nose, a hawk nose, a hook nose, a beaky "
            "nose, a crooked nose, an eagle's beak, a greek nose",
            "narrow": "pinched nostrils, a pinched nose, a refined nose",
        },
    ),
    Part(
        "nose bridge, bridge of the nose, bridge, nasal bridge",
        {
            "high": "nose_bridge +1.4",
            "low": "nose_bridge -1.4",
            "strong": "nose_bridge +1.4",
            "flat": "nose_bridge -1.4",
            "weak": "nose_bridge -1.7",
            "big": "nose_bridge +1.4",
            "small": "nose_bridge -1.4",
            "wide": "nose_bridge -0.6; nose_width +1.5",
            "narrow": "nose_bridge +0.5; nose_width -1.5",
        },
        {
            "high": "a bump on the nose, a hump on the nose, a nose bump, a raised bridge",
            "flat": "a saddle nose, no nose bridge",
        },
    ),
    Part(
        "lips, upper lip, lower lip",
        {
            "full": "lips_fullness +1.4",
            "thin": "lips_fullness -1.4",
            "big": "lips_fullness +1.4",
            "small": "lips_fullness -1.7",
            "wide": "mouth_width +1.7",
            "narrow": "mouth_width -1.5; lips_fullness -0.6",
            "flat": "lips_fullness -1.5",
            "strong": "lips_fullness +1.7",
            "round": "lips_fullness +1.5; mouth_width -0.6",
            "long": "mouth_width +1.7",
            "short": "mouth_width -1.7",
        },
        {
            "full": "bee-stung lips, juicy lips, lip filler, lip fillers, angelina jolie lips, kylie jenner lips, "
            "sensual lips, more lips, injected lips, botox lips, botoxed lips, fillers, sexy lips, swollen "
            "lips, puffy lips, lush lips",
            "thin": "hardly any lips, no lips, lips like a line",
        },
    ),
    Part(
        "mouth",
        {
            "wide": "mouth_width +1.4",
            "narrow": "mouth_width -1.4",
            "big": "mouth_width +1.7; lips_fullness +0.4",
            "small": "mouth_width -1.7; lips_fullness -0.3",
            "full": "lips_fullness +1.7",
            "thin": "lips_fullness -1.3",
            "long": "mouth_width +1.4",
            "short": "mouth_width -1.4",
        },
        {"small": "a rosebud mouth, a cherry mouth", "wide": "a frog mouth, a julia roberts mouth"},
    ),
    Part(
        "jaw, jawline, lower face, jawbone",
        {
            "wide": "jaw_width +1.4",
            "narrow": "jaw_width -1.4",
            "big": "jaw_width +1.3; chin_projection +0.6",
            "small": "jaw_width -1.3; chin_projection -0.4",
            "strong": "jaw_width +1.5; chin_projection +0.7",
            "weak": "jaw_width -1.5; chin_projection -0.7",
            "square": "jaw_width +1.4",
            "pointed": "jaw_width -1.7; chin_length +0.5",
            "thin": "jaw_width -1.7",
            "round": "jaw_width -0.9; weight +0.15",
            "full": "jaw_width +1.3",
            "long": "chin_length +1.3; jaw_width +0.3",
            "short": "chin_length -1.3",
        },
        {
            "strong": "a chiselled jaw, a chiseled jaw, a manly jaw, a firm jaw, a lantern jaw, a chiselled jawline, a "
            "chiseled jawline, a superman jaw, a sharp jawline, a muscular jaw, a sharper jawline, a sharp "
            "jaw, a sharper jaw, a masculine jaw, a tight jawline, a heavy jaw, a model jawline",
            "narrow": "a v-shaped jaw, a v-line jaw, a tapered jaw, a feminine jaw, a dainty jaw, a v-line face, a "
            "v-shaped face",
            "weak": "a receding jaw, an overbite",
            "square": "a hard jaw, a box jaw",
        },
    ),
    Part(
        "chin",
        {
            "long": "chin_length +1.4",
            "short": "chin_length -1.4",
            "big": "chin_length +1.3; chin_projection +1.4",
            "small": "chin_length -1.4; chin_projection -1.2",
            "strong": "chin_projection +1.4; chin_length +0.4",
            "weak": "chin_projection -1.4; chin_length -0.4",
            "pointed": "chin_length +1.4; jaw_width -1.3",
            "round": "chin_length -1; jaw_width +0.6",
            "square": "jaw_width +1.5; chin_projection +0.7",
            "wide": "jaw_width +1.3",
            "narrow": "jaw_width -1.3",
            "flat": "chin_projection -1.4",
            "high": "chin_length -1.7",
            "low": "chin_length +1.7",
        },
        {
            "strong": "a protruding chin, a jutting chin, a prominent chin, a chin implant, a projecting chin, a "
            "habsburg chin, a chin that sticks out, a manly chin",
            "weak": "a receding chin, no chin, a retreating chin, a chinless face, a fleeing chin",
            "pointed": "a witch's chin, a heart-shaped face, a witch chin, a heart face",
        },
    ),
    Part(
        "cheekbones",
        {
            "high": "cheekbones +1.4",
            "low": "cheekbones -1.4",
            "strong": "cheekbones +1.4",
            "weak": "cheekbones -1.4",
            "big": "cheekbones +1.4",
            "small": "cheekbones -1.4",
            "flat": "cheekbones -1.4",
            "wide": "cheekbones +1.5; face_width +0.6",
            "pointed": "cheekbones +1.4",
            "full": "cheekbones +1.3",
            "narrow": "cheekbones -1.5; face_width -0.5",
        },
        {
            "strong": "chiselled cheekbones, sculpted cheekbones, visible cheekbones, model cheekbones, chiseled "
            "cheekbones, contoured cheeks, contouring, cheekbones, protruding cheekbones, sharp cheekbones, "
            "sharper cheekbones",
            "flat": "no cheekbones, hidden cheekbones",
        },
    ),
    Part(
        "eyes",
        {
            "big": "eye_size +1.4",
            "small": "eye_size -1.4",
            "wide": "eye_size +1.3",
            "narrow": "eye_size -1.7",
            "round": "eye_size +1.3",
            "thin": "eye_size -1.3",
        },
        {
            "big": "manga eyes, googly eyes, bambi eyes, puppet eyes, large round eyes, doll eyes",
            "small": "beady eyes, piggy eyes, button eyes, pig eyes, slit eyes",
        },
    ),
    Part(
        "eye spacing, eye distance, distance between the eyes, space between the eyes, gap between the "
        "eyes, interocular distance",
        {
            "wide": "eye_spacing +1.4",
            "narrow": "eye_spacing -1.4",
            "big": "eye_spacing +1.4",
            "small": "eye_spacing -1.4",
        },
        {
            "wide": "wide-set eyes, wide-spaced eyes, eyes far apart, eyes farther apart, eyes further apart, eyes "
            "wide apart, eyes more apart, more space between the eyes, widely spaced eyes, eyes apart, "
            "wider-set eyes, wider set eyes, hammerhead eyes",
            "narrow": "close-set eyes, eyes close together, eyes closer together, eyes nearer together, less space "
            "between the eyes, closely spaced eyes, eyes together, closer-set eyes, narrow-set eyes, eyes "
            "closer, closer eyes",
        },
    ),
    Part(
        "brow position, brow height, position of the brows",
        {
            "high": "brow_height +1.4",
            "low": "brow_height -1.4",
            "big": "brow_height +1.7",
            "small": "brow_height -1.7",
        },
        {
            "high": "high brows, higher brows, high-set brows, brows higher up, brows higher, brows further up, "
            "high-placed brows, a brow lift, brows further from the eyes, brows set high",
            "low": "low brows, low-set brows, brows lower down, brows further down, brows closer to the eyes, "
            "low-placed brows, lower brows, brows lower, low-hanging brows, brows set low",
        },
    ),
    Part(
        "ears, earlobes, ear lobes",
        {
            "big": "ears_size +1.4",
            "small": "ears_size -1.4",
            "wide": "ears_size +1.3",
            "narrow": "ears_size -1.3",
            "long": "ears_size +1.7",
            "short": "ears_size -1.7",
            "strong": "ears_size +1.7",
        },
        {
            "big": "elephant ears, protruding ears, dumbo ears, jug ears, sticking-out ears, ears that stick out, "
            "bat ears, sail ears, jutting ears, floppy ears, spock ears, hobbit ears, rabbit ears",
            "small": "pinned-back ears, hardly any ears, close-fitting ears, hidden ears, no ears, mouse ears, ears "
            "pinned back",
        },
    ),
    Part(
        "face, head, face shape, facial shape",
        {
            "long": "face_length +1.4",
            "short": "face_length -1.4",
            "wide": "face_width +1.4",
            "narrow": "face_width -1.4",
            "round": "face_width +1.3; face_length -0.8; weight +0.2",
            "square": "jaw_width +1.3; face_width +0.8; face_length -0.4",
            "big": "face_width +1.3; face_length +1.1",
            "small": "face_width -1.3; face_length -1.1",
            "pointed": "jaw_width -1.5; chin_length +1",
            "flat": "nose_bridge -1.3; cheekbones -0.8; chin_projection -0.7",
            "strong": "jaw_width +1.2; cheekbones +0.9; chin_projection +0.8",
            "weak": "jaw_width -1; cheekbones -0.7; chin_projection -0.8",
        },
        {
            "long": "an oblong face, a horse face, an oval face, a horsey face, a rectangular face, an egg-shaped "
            "face, an egg head",
            "round": "a moon face, a circular face, a ball-shaped face, a pancake face",
            "strong": "sharp features, a sharp face, a sharper face, sharper features, angular features, bold features",
            "square": "a box-shaped face, an angular face",
        },
    ),
    Part(
        "forehead",
        {
            "high": "forehead_height +1.4",
            "low": "forehead_height -1.4",
            "big": "forehead_height +1.4",
            "small": "forehead_height -1.4",
            "long": "forehead_height +1.7",
            "short": "forehead_height -1.7",
            "wide": "forehead_height +1; face_width +1.2",
            "narrow": "forehead_height -0.8; face_width -1.2",
            "strong": "forehead_height +1.3",
            "flat": "forehead_height -1.3",
            "round": "forehead_height +1.5",
        },
        {
            "high": "a fivehead, an intellectual forehead, a five-head, an egghead forehead",
            "low": "a neanderthal forehead, hardly any forehead",
        },
    ),
)

# What people ask for and this program has no means for. Words, and a sentence that says what can be done instead.
IMPOSSIBLE: tuple[tuple[str, str], ...] = (
    (
        "glasses, sunglasses, spectacles, shades, goggles, monocle, eyeglasses, eyewear, specs, reading "
        "glasses, eye patch, eyepatch, contact lenses",
        "Glasses and other things in front of the eyes cannot be added; the eyes' colour and size can be changed.",
    ),
    (
        "hat, cap, helmet, crown, headscarf, hijab, turban, beanie, bandana, hood, headband, wig, veil, "
        "halo, beret, sombrero, tiara, headphones",
        "Heads have no headgear, and none can be added.",
    ),
    (
        "earrings, earring, piercing, piercings, nose ring, jewellery, jewelry, necklace, nose stud, "
        "septum ring, studs, chain",
        "Jewellery cannot be added to a head.",
    ),
    (
        "tattoo, tattoos, face tattoo, tattooed, face paint, facepaint, tribal paint",
        "Tattoos and face paint cannot be drawn; moles, scars and make-up can.",
    ),
    (
        "long hair, curly hair, straight hair, wavy hair, ponytail, bangs, fringe, dreadlocks, mohawk, "
        "afro hair, bob, haircut, hairstyle, pigtails, short hair, braids, bun, mullet, hair style, "
        "quiff, pixie cut, frizzy hair, spiky hair, locks, undercut, fade, bob cut, thick hair, fine "
        "hair, more hair, shoulder-length hair, perm, curls, long blond hair, long black hair, long "
        "brown hair, long red hair, long grey hair, long white hair, messy hair",
        "Heads are shaved and have no hairstyles; the colour of brows and beard can be changed, and "
        "hairline and stubble.",
    ),
    (
        "blue hair, pink hair, purple hair, green hair, violet hair, rainbow hair, turquoise hair, dyed "
        "hair, highlights",
        "Hair (brows and beard) comes in natural colours only: black, brown, blond, ginger, grey and white.",
    ),
    (
        "teeth, tooth, white teeth, whiter teeth, braces, crooked teeth, gold teeth, missing teeth, gap "
        "teeth, fangs, buck teeth, vampire teeth, gold tooth",
        "Teeth cannot be changed; 'grin' and 'open mouth' show them.",
    ),
    (
        "neck, long neck, shoulders, body, body hair, chest, arms, hands, breasts, legs, belly, hips, "
        "height, muscles in the arms, adam's apple, torso",
        "Only the head can be changed, not the neck or the body.",
    ),
    (
        "clothes, shirt, dress, suit, tie, scarf, uniform, jacket, costume, clothing, bow tie, cape, "
        "armour, armor, mask, collar",
        "Clothes cannot be added: there is only a head.",
    ),
    (
        "background, lighting, light source, camera, scene, beach, forest, studio light, backdrop",
        "Words change the head only; light and camera are in the viewer's panels.",
    ),
    (
        "green skin, blue skin, purple skin, yellow skin, orange skin, grey skin, red skin color, silver "
        "skin, golden skin, metallic skin, gold skin, pink skin color",
        "Skin comes in human colours only: from very pale to very dark, redder or more sallow.",
    ),
    (
        "red eyes, purple eyes, pink eyes, white eyes, violet eyes, rainbow eyes, bloodshot eyes, "
        "heterochromia, different colored eyes, glowing eyes, snake eyes, three eyes, laser eyes",
        "Eyes come in human colours, the same on both sides: blue, grey, green, hazel, amber and brown.",
    ),
    (
        "horns, wings, fur, scales, feathers, tail, antlers, whisker hair, snout, beaked mouth, trunk, "
        "tusks, cat ears, third eye",
        "Only human features can be drawn.",
    ),
    (
        "cat, dog, lion, wolf, monkey, gorilla, bear face, animal, robot, werewolf, horse, pig, tiger, "
        "bird, fish, ape, chimpanzee, lizard, dragon, frog, mouse",
        "Only people can be made, no animals or machines.",
    ),
    (
        "head turned, turn the head, tilt the head, head tilt, nod, profile, side view, rotate the head, "
        "turn around, tilted head, head up, head down, head left, head right, look over the shoulder",
        "Words do not turn the head; drag it in the viewer or use the panel Pose.",
    ),
    (
        "eyelashes, lashes, long eyelashes, long lashes, fake lashes, false lashes, longer lashes, "
        "longer eyelashes, thicker lashes, bigger lashes",
        "Lashes cannot be changed; 'eyeliner' darkens the rim of the eyes.",
    ),
    (
        "ugly, uglier, ugliness, weird, strange, funny, cool-looking, interesting, different, random, "
        "better-looking me, hideous, unattractive",
        "That says too little about the face: name what should change, such as the nose, the skin or the expression.",
    ),
    (
        "smart, intelligent, rich, famous, poor, stupid, clever, wise, successful, trustworthy, dumb, "
        "religious, criminal record, nice personality, gay man, lesbian, jewish, muslim, christian",
        "A face does not show that: name what should change, such as the age, the skin or the expression.",
    ),
)
