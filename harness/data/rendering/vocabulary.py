"""The words of the captions: names of things, colours and movements, in each domain.

Every entry is `spoken(everywhere, plaza, station, campus)`, comma-separated lists. A caption mostly uses
the words of its domain; the generic domain has all of them, so that a model pre-trained there has met every
word, though never in a sentence of the other domains.
"""

from __future__ import annotations

Words = dict[str, tuple[str, ...]]


def spoken(everywhere: str, plaza: str = "", station: str = "", campus: str = "") -> Words:
    """What a thing is called, by domain, from comma-separated lists."""
    lists = {"": everywhere, "plaza": plaza, "station": station, "campus": campus}
    words = {domain: tuple(filter(None, text.split(", "))) for domain, text in lists.items()}
    words["generic"] = tuple(dict.fromkeys(word for known in words.values() for word in known))
    return words


NAMES: dict[str, Words] = {
    # upper body
    "t-shirt": spoken("t-shirt", "tee, short-sleeve tee", "short-sleeved top, T-shirt", "tee, cotton tee"),
    "tank top": spoken(
        "tank top", "sleeveless top, tank", "vest top, sleeveless shirt", "tank top, muscle shirt"
    ),
    "shirt": spoken(
        "shirt", "button-down, button-up shirt, dress shirt", "collared shirt, buttoned shirt", "button-up"
    ),
    "blouse": spoken("blouse", "short-sleeved blouse, summer top", "blouse, smart top", "top, light blouse"),
    "polo shirt": spoken("polo shirt", "polo, golf shirt", "polo shirt, collared t-shirt", "polo"),
    "sweater": spoken(
        "sweater", "pullover, long-sleeved top", "jumper, knitted jumper", "crewneck, knit sweater"
    ),
    "hoodie": spoken(
        "hoodie", "hooded sweatshirt", "hooded top, hooded jumper", "hoodie, hoody, hooded sweater"
    ),
    "dress": spoken("dress", "sundress, summer dress, frock", "dress, gown", "dress, one-piece dress"),
    # outer garments
    "jacket": spoken(
        "jacket", "light jacket, windbreaker", "zipped jacket, short jacket", "jacket, bomber, bomber jacket"
    ),
    "puffer jacket": spoken(
        "padded jacket", "puffer, quilted jacket", "padded coat, down jacket", "puffer jacket, puffer"
    ),
    "coat": spoken(
        "coat", "long coat, topcoat", "overcoat, winter coat, long coat", "coat, trench coat, parka"
    ),
    "cardigan": spoken(
        "cardigan", "knit jacket, light cardigan", "cardigan, buttoned cardigan", "cardigan, open knit"
    ),
    "gilet": spoken("sleeveless jacket", "vest, puffy vest", "gilet, body warmer", "vest, padded vest"),
    "suit jacket": spoken(
        "suit jacket", "blazer, sport coat", "suit jacket, business jacket", "blazer, smart jacket"
    ),
    # lower body
    "jeans": spoken("jeans", "denim pants, jeans", "denims, denim trousers", "jeans, denims"),
    "trousers": spoken("trousers", "pants, slacks", "trousers, long trousers", "pants, chinos"),
    "shorts": spoken("shorts", "shorts, bermudas", "short trousers, shorts", "shorts, short pants"),
    "skirt": spoken("skirt", "skirt, summer skirt", "skirt", "skirt"),
    "leggings": spoken(
        "leggings",
        "leggings, stretch pants",
        "tight leggings, close-fitting leggings",
        "leggings, yoga pants",
    ),
    "tights": spoken("tights", "pantyhose, tights", "tights, stockings", "tights, stockings"),
    # feet
    "sneakers": spoken(
        "sports shoes", "sneakers, tennis shoes", "trainers, running shoes", "sneakers, kicks"
    ),
    "shoes": spoken(
        "shoes", "shoes, loafers, leather shoes", "shoes, dress shoes, footwear", "shoes, low shoes"
    ),
    "boots": spoken("boots", "ankle boots", "boots, short boots, leather boots", "boots, hiking boots"),
    "socks": spoken("socks", "socks, crew socks", "socks, ankle socks", "socks"),
    # things carried
    "backpack": spoken(
        "backpack", "backpack, knapsack", "rucksack, travel rucksack", "backpack, school bag, book bag"
    ),
    "shoulder bag": spoken(
        "shoulder bag", "crossbody bag, crossbody purse", "satchel, side bag", "messenger bag, sling bag"
    ),
    "handbag": spoken("handbag", "purse, pocketbook", "handbag, small case", "handbag, small bag"),
    "shopping bag": spoken(
        "shopping bag", "tote bag, grocery bag, shopper", "carrier bag", "tote, canvas bag"
    ),
    "suitcase": spoken(
        "suitcase",
        "suitcase, rolling bag",
        "suitcase, trolley case, wheeled case, piece of luggage",
        "rolling suitcase, case",
    ),
    "phone": spoken("phone", "cell phone, smartphone", "mobile phone, mobile", "phone, smartphone"),
    "cup": spoken("cup", "cup of coffee, to-go cup", "paper cup, takeaway cup", "coffee, coffee cup"),
    # head and neck
    "cap": spoken("cap", "baseball cap, ball cap", "peaked cap, cap", "cap, snapback, baseball cap"),
    "beanie": spoken(
        "knit hat", "beanie, knit cap", "woolly hat, knitted hat, bobble hat", "beanie, knit beanie"
    ),
    "fedora": spoken("brimmed hat", "fedora, sun hat", "hat with a brim, trilby", "fedora, felt hat"),
    "scarf": spoken("scarf", "scarf, neck scarf", "scarf, thick scarf, woollen scarf", "scarf, knit scarf"),
    "glasses": spoken("glasses", "eyeglasses, glasses", "spectacles, glasses", "glasses, frames"),
    "sunglasses": spoken(
        "sunglasses", "sunglasses, shades, dark glasses", "dark glasses, tinted glasses", "shades, sunnies"
    ),
    "beard": spoken(
        "beard", "beard, short beard, facial hair", "beard, full beard, trimmed beard", "beard, stubbly beard"
    ),
}

COLOUR_NAMES: dict[str, Words] = {
    "black": spoken("black", "black, jet black", "black, dark", "black"),
    "dark grey": spoken(
        "dark gray", "charcoal, charcoal gray", "dark grey, slate grey", "charcoal, dark gray"
    ),
    "grey": spoken("gray", "gray, medium gray", "grey, mid-grey", "gray, heather gray"),
    "light grey": spoken(
        "light gray", "light gray, silver gray", "light grey, pale grey", "light gray, ash gray"
    ),
    "white": spoken("white", "white, bright white", "white, whitish", "white"),
    "cream": spoken("cream", "off-white, ivory", "cream, cream-coloured", "off-white, ecru"),
    "beige": spoken("beige", "tan, khaki, sand-colored", "beige, fawn, camel", "khaki, tan, sandy"),
    "brown": spoken("brown", "brown, dark brown, chocolate", "brown, chestnut", "brown, coffee brown"),
    "navy": spoken("navy", "navy blue, dark blue", "navy, midnight blue, dark blue", "navy, deep blue"),
    "blue": spoken("blue", "blue, medium blue", "blue, mid-blue", "blue, denim blue"),
    "light blue": spoken(
        "light blue", "light blue, sky blue, baby blue", "pale blue, light blue", "sky blue, powder blue"
    ),
    "teal": spoken("teal", "teal, turquoise", "blue-green, dark turquoise", "teal, petrol"),
    "green": spoken("green", "green, forest green", "green, dark green, bottle green", "green, grass green"),
    "olive": spoken(
        "olive", "olive green, army green", "olive, drab green, khaki green", "army green, military green"
    ),
    "yellow": spoken("yellow", "yellow, mustard, gold", "mustard, yellow, ochre", "mustard yellow, yellow"),
    "orange": spoken("orange", "orange, burnt orange", "rust-coloured, orange", "rust, orange, copper"),
    "red": spoken("red", "red, brick red", "red, dark red, crimson", "red, bright red"),
    "burgundy": spoken("burgundy", "maroon, wine-colored", "burgundy, claret, wine red", "maroon, burgundy"),
    "pink": spoken("pink", "pink, light pink, rose", "pink, dusty pink, pale pink", "pink, pastel pink"),
    "purple": spoken("purple", "purple, violet", "purple, plum", "purple, dark purple"),
    # denim
    "blue denim": spoken("blue", "blue, classic blue", "blue, mid-blue", "blue, regular blue"),
    "dark denim": spoken("dark blue", "dark blue, indigo", "dark blue, dark", "dark, dark-wash"),
    "light denim": spoken(
        "light blue", "light blue, faded, stonewashed", "pale blue, bleached", "light-wash, washed-out, faded"
    ),
    "black denim": spoken("black", "black", "black, dark", "black, washed black"),
}
HAIR_COLOUR_NAMES: dict[str, Words] = {
    "black": spoken("black", "black, dark", "black, dark", "black, jet-black"),
    "dark brown": spoken("dark brown", "brunette, dark brown", "dark, dark brown", "dark brown, dark"),
    "brown": spoken("brown", "brown, light brown", "brown, mid-brown", "brown"),
    "auburn": spoken("reddish", "auburn, red", "reddish-brown, ginger", "red, ginger"),
    "blond": spoken("blond", "blonde, blond", "fair, blonde", "blonde, golden"),
    "grey": spoken("gray", "gray, silver", "grey, greying, white", "gray, silvery"),
}
HAIR_NAMES: dict[str, Words] = {  # adjectives before "hair"
    "bob01": spoken("bobbed", "bobbed, chin-length", "bobbed, jaw-length", "bobbed, cropped at the chin"),
    "bob02": spoken(
        "chin-length", "chin-length, medium-length", "shoulder-length, medium-length", "medium, chin-length"
    ),
    "braid01": spoken("braided", "braided", "plaited, braided", "braided"),
    "long01": spoken("long", "long, long straight", "long, long loose", "long, flowing"),
    "ponytail01": spoken("tied-back", "tied-up, pulled-back", "tied-back", "pulled-back, tied-back"),
    "short": spoken("short", "short, trimmed", "short, cropped, neat", "short, close-cut"),
}

WHO: dict[str, dict[str, Words]] = {
    "female": {
        "any": spoken(
            "woman", "woman, lady", "woman, female passenger, female traveller, female", "woman, girl"
        ),
        "young": spoken(
            "young woman",
            "young woman, young lady",
            "young woman, young female",
            "girl, female student, young girl",
        ),
        "middle-aged": spoken(
            "middle-aged woman",
            "mature woman, middle-aged lady",
            "middle-aged female, woman in her forties",
            "grown woman, lecturer",
        ),
        "older": spoken(
            "older woman",
            "elderly lady, senior lady",
            "elderly woman, female pensioner",
            "older woman, older lady",
        ),
    },
    "male": {
        "any": spoken("man", "man, guy, gentleman", "man, male passenger, male traveller, male", "man, guy"),
        "young": spoken(
            "young man",
            "young man, young guy",
            "young man, young male, youth",
            "guy, male student, boy, dude",
        ),
        "middle-aged": spoken(
            "middle-aged man",
            "mature man, middle-aged guy",
            "middle-aged male, man in his forties",
            "grown man, lecturer",
        ),
        "older": spoken(
            "older man",
            "elderly man, senior gentleman",
            "elderly man, male pensioner",
            "older man, older guy",
        ),
    },
    "person": {
        "any": spoken(
            "person",
            "person, pedestrian, passer-by",
            "person, commuter, traveller",
            "person, student, individual",
        )
    },
}
BUILD: dict[str, Words] = {
    "slim": spoken("slim", "slender, slim, thin", "slightly built, slim, lean", "skinny, slim"),
    "heavy": spoken(
        "heavy-set", "stocky, heavy-set", "heavily built, stout, sturdy", "chubby, broad-shouldered"
    ),
}

PATTERN_WAYS: dict[str, tuple[str, ...]] = {
    "stripes": (
        "{colour} and {other} striped {noun}",
        "{colour} {noun} with {other} stripes",
        "striped {colour} {noun}",
        "{colour} {noun} with {other} horizontal stripes",
    ),
    "pinstripes": (
        "{colour} pinstriped {noun}",
        "{colour} {noun} with thin {other} lines",
        "vertically striped {colour} {noun}",
    ),
    "checks": (
        "{colour} and {other} checked {noun}",
        "{colour} and {other} plaid {noun}",
        "checkered {colour} {noun}",
        "tartan {colour} {noun}",
        "{colour} {noun} with {other} squares",
    ),
    "floral": (
        "{colour} floral {noun}",
        "flowery {colour} {noun}",
        "{colour} {noun} with {an_other} flower pattern",
        "{colour} {noun} with {an_other} leafy pattern",
    ),
    "dots": (
        "{colour} polka-dot {noun}",
        "spotted {colour} {noun}",
        "{colour} {noun} with {other} dots",
        "{colour} {noun} with {other} spots",
    ),
    "two-tone": (
        "{colour} and {other} {noun}",
        "two-tone {colour} and {other} {noun}",
        "{colour} {noun} with {an_other} top half",
        "{other} and {colour} colour-block {noun}",
    ),
    "print": (
        "{colour} {noun} with {an_other} print",
        "{colour} {noun} with {an_other} logo",
        "{colour} {noun} with something {other} on the chest",
        "printed {colour} {noun}",
    ),
    "sleeves": ("{colour} {noun} with {other} sleeves", "{colour} {noun} with {other} arms"),
    "side-stripe": (
        "{colour} {noun}",
        "{colour} {noun} with {an_other} side stripe",
        "{colour} {noun} with {other} stripes down the sides",
    ),
}

# what people do at a place, by gait
PASSES: dict[str, Words] = {
    "walking": spoken(
        "passes", "strolls by, passes, crosses the square, hurries past", "passes by", "walks past"
    ),
    "standing": spoken(
        "is there", "is out on the square, waits on the square, lingers", "waits", "hangs around"
    ),
}
PASSING: dict[str, Words] = {
    "walking": spoken(
        "passing", "crossing the square", "on the way", "headed to class, crossing the lawn, on the path"
    ),
    "standing": spoken(
        "waiting", "on the square", "on the spot", "between lectures, by the trees, outside the library"
    ),
}

# what a mistaken caption names instead
MISTAKEN_COLOURS: dict[str, tuple[str, ...]] = {
    "black": ("navy", "dark grey"),
    "navy": ("black", "blue"),
    "dark grey": ("black", "grey"),
    "grey": ("light grey", "dark grey"),
    "light grey": ("white", "grey"),
    "white": ("cream", "light grey"),
    "cream": ("white", "beige"),
    "beige": ("cream", "brown"),
    "brown": ("black", "burgundy"),
    "blue": ("navy", "teal"),
    "light blue": ("grey", "blue"),
    "teal": ("blue", "green"),
    "green": ("teal", "olive"),
    "olive": ("green", "brown"),
    "yellow": ("beige", "orange"),
    "orange": ("red", "brown"),
    "red": ("orange", "burgundy"),
    "burgundy": ("brown", "red"),
    "pink": ("beige", "purple"),
    "purple": ("burgundy", "navy"),
}
MISTAKEN_KINDS: dict[str, str] = {
    "sweater": "hoodie",
    "hoodie": "sweater",
    "jacket": "coat",
    "cardigan": "sweater",
    "shirt": "blouse",
    "trousers": "jeans",
    "shoulder bag": "handbag",
    "handbag": "shopping bag",
    "shopping bag": "handbag",
    "cap": "beanie",
    "sneakers": "shoes",
    "shoes": "boots",
}
