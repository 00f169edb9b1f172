"""Which glyphs of the emoji table the pocket world knows, what it calls them, and which it leaves out.

A named glyph has one plain word that no other glyph has; captions say it. Every other glyph is captioned by its
group alone ("an animal"). `glyphs.py` joins these tables with the picture packages.
"""

NAMES: dict[str, str] = {
    # animals
    "dog": "dog", "cat": "cat", "mouse": "mouse", "rabbit": "rabbit", "fox_face": "fox", "bear": "bear",
    "panda_face": "panda", "koala": "koala", "tiger": "tiger", "lion_face": "lion", "cow": "cow", "pig": "pig",
    "frog": "frog", "monkey_face": "monkey", "unicorn_face": "unicorn", "elephant": "elephant",
    "giraffe_face": "giraffe", "penguin": "penguin", "chicken": "chicken", "owl": "owl", "duck": "duck",
    "flamingo": "flamingo", "parrot": "parrot", "turtle": "turtle", "snake": "snake", "crocodile": "crocodile",
    "whale": "whale", "octopus": "octopus", "crab": "crab", "shark": "shark", "tropical_fish": "fish",
    "snail": "snail", "bee": "bee", "ladybug": "ladybug", "butterfly": "butterfly", "spider": "spider",
    "hedgehog": "hedgehog", "sheep": "sheep", "lobster": "lobster", "t-rex": "dinosaur",
    # food
    "apple": "apple", "pear": "pear", "peach": "peach", "tangerine": "tangerine", "lemon": "lemon",
    "banana": "banana", "watermelon": "watermelon", "grapes": "grapes", "strawberry": "strawberry",
    "cherries": "cherry", "pineapple": "pineapple", "kiwifruit": "kiwi", "tomato": "tomato",
    "eggplant": "eggplant", "carrot": "carrot", "corn": "corn", "broccoli": "broccoli", "avocado": "avocado",
    "bread": "bread", "cheese_wedge": "cheese", "fried_egg": "egg", "pizza": "pizza", "hamburger": "burger",
    "taco": "taco", "croissant": "croissant", "pretzel": "pretzel", "doughnut": "donut", "cookie": "cookie",
    "cake": "cake", "icecream": "icecream", "lollipop": "lollipop", "coffee": "coffee", "beer": "beer",
    "popcorn": "popcorn",
    # plants
    "cactus": "cactus", "deciduous_tree": "tree", "palm_tree": "palm", "rose": "rose", "sunflower": "sunflower",
    "tulip": "tulip", "maple_leaf": "leaf", "mushroom": "mushroom",
    # vehicles
    "car": "car", "bus": "bus", "taxi": "taxi", "tractor": "tractor", "ambulance": "ambulance",
    "steam_locomotive": "train", "bike": "bicycle", "rocket": "rocket", "helicopter": "helicopter",
    "airplane": "airplane", "boat": "sailboat", "flying_saucer": "ufo",
    # things
    "basketball": "basketball", "soccer": "football", "guitar": "guitar", "trumpet": "trumpet",
    "violin": "violin", "drum_with_drumsticks": "drum", "axe": "axe", "scissors": "scissors", "key": "key",
    "lock": "lock", "bell": "bell", "bulb": "bulb", "candle": "candle", "camera": "camera",
    "telescope": "telescope", "microscope": "microscope", "magnet": "magnet", "bomb": "bomb",
    "umbrella": "umbrella", "crown": "crown", "tophat": "hat", "athletic_shoe": "shoe", "shirt": "shirt",
    "dress": "dress", "ring": "ring", "gift": "gift", "balloon": "balloon", "trophy": "trophy",
    "alarm_clock": "clock", "hourglass": "hourglass", "chair": "chair", "iphone": "phone",
    "computer": "computer", "school_satchel": "backpack", "kite": "kite", "teddy_bear": "teddy",
    "game_die": "dice", "house": "house", "european_castle": "castle", "tent": "tent", "star": "star",
    "heart": "heart", "robot_face": "robot", "ghost": "ghost", "alien": "alien", "skull": "skull",
    "snowman_without_snow": "snowman", "jack_o_lantern": "pumpkin", "fire": "fire", "anchor": "anchor",
    "earth_americas": "globe", "volcano": "volcano",
}  # fmt: skip
"""Short name in emoji.json -> the one word captions use. A name whose glyph falls into the hold-out goes unused."""

DRAWN: frozenset[str] = frozenset({
    "fox", "panda", "lion", "pig", "frog", "monkey", "unicorn", "elephant", "penguin", "whale", "octopus", "fish",
    "ladybug", "butterfly", "apple", "lemon", "banana", "watermelon", "grapes", "strawberry", "pineapple", "tomato",
    "carrot", "broccoli", "cheese", "pizza", "burger", "donut", "icecream", "cactus", "tree", "sunflower", "tulip",
    "mushroom", "car", "rocket", "sailboat", "basketball", "football", "guitar", "umbrella", "crown", "gift",
    "balloon", "trophy", "house", "star", "heart", "ghost", "globe",
})  # fmt: skip
"""The names the UNet was taught. Tokenizer and CLIP pair know all of `NAMES`; the UNet costs far more a picture, and a
smaller world that is learned is worth more than a large one that is not. To teach another name, add it here."""

GROUPS: dict[str, str] = {
    "animal-mammal": "animal", "animal-reptile": "animal", "animal-amphibian": "animal", "animal-marine": "animal",
    "animal-bird": "bird", "animal-bug": "insect",
    "plant-other": "plant", "plant-flower": "flower",
    "food-fruit": "fruit", "food-vegetable": "vegetable", "food-prepared": "food", "food-asian": "food",
    "food-sweet": "sweet", "drink": "drink", "dishware": "object",
    "transport-ground": "vehicle", "transport-air": "vehicle", "transport-water": "vehicle",
    "place-building": "building", "place-religious": "building", "place-geographic": "place", "place-other": "place",
    "place-map": "object", "sky & weather": "weather", "hotel": "object", "event": "toy", "game": "toy",
    "arts & crafts": "toy", "sport": "toy", "award-medal": "object", "musical-instrument": "instrument",
    "music": "instrument", "clothing": "clothing", "tool": "tool", "science": "tool", "writing": "tool",
    "household": "object", "office": "object", "book-paper": "object", "light & video": "device",
    "computer": "device", "phone": "device", "sound": "device", "mail": "object", "lock": "object",
    "medical": "tool", "money": "object", "other-object": "object", "face-costume": "face", "face-negative": "face",
    "time": "object", "heart": "symbol",
}  # fmt: skip
"""Subcategory in emoji.json -> the group word. A subcategory that is not here is left out of the world."""

LEFT_OUT: frozenset[str] = frozenset({
    "new_moon", "waxing_crescent_moon", "first_quarter_moon", "waning_gibbous_moon", "last_quarter_moon",
    "waning_crescent_moon", "new_moon_with_face", "first_quarter_moon_with_face", "last_quarter_moon_with_face",
    "full_moon_with_face", "moon", "mostly_sunny", "barely_sunny", "partly_sunny", "partly_sunny_rain", "rain_cloud",
    "snow_cloud", "lightning", "cyclone", "fog", "umbrella_with_rain_drops", "star2", "stars", "snowman", "sunny",
    "earth_africa", "earth_asia", "oncoming_bus", "oncoming_automobile", "oncoming_taxi", "oncoming_police_car",
    "mag_right", "inbox_tray", "outbox_tray", "mailbox", "mailbox_with_no_mail", "mailbox_closed", "open_file_folder",
    "green_book", "blue_book", "orange_book", "camera_with_flash", "cd", "speaker", "sound", "mute", "no_bell",
    "unlock", "hourglass_flowing_sand", "second_place_medal", "third_place_medal", "linked_paperclips",
    "broken_chain", "low_battery", "clinking_glasses", "heartbeat", "two_hearts", "sparkling_heart", "heartpulse",
    "blue_heart", "green_heart", "yellow_heart", "purple_heart", "revolving_hearts", "black_heart", "white_heart",
    "brown_heart", "orange_heart", "light_blue_heart", "grey_heart", "pink_heart",
    "heavy_heart_exclamation_mark_ornament", "heart_decoration", "heart_on_fire", "mending_heart", "love_letter",
    "smile_cat", "joy_cat", "smiley_cat", "heart_eyes_cat", "smirk_cat", "kissing_cat", "pouting_cat",
    "crying_cat_face", "scream_cat", "angry", "rage", "triumph", "face_with_symbols_on_mouth", "smiling_imp",
    "hatching_chick", "hatched_chick", "black_cat", "guide_dog", "service_dog", "black_bird", "umbrella_on_ground",
    "night_with_stars", "sunrise_over_mountains", "sunrise", "city_sunset", "city_sunrise", "bridge_at_night",
    "foggy", "cityscape", "email", "e-mail", "incoming_envelope", "notebook_with_decorative_cover", "page_facing_up",
    "bookmark_tabs", "musical_note", "notes", "spades", "clubs", "hearts", "diamonds", "probing_cane", "seat",
    "spiral_calendar_pad", "date", "chart_with_upwards_trend", "chart_with_downwards_trend", "dollar", "euro",
    "pound", "yen", "construction", "octagonal_sign", "busstop", "no_entry", "low_brightness", "loud_sound",
    "green_salad_bowl", "closed_lock_with_key", "rice_scene", "clock1", "clock2", "clock3", "clock4", "clock5",
    "clock6", "clock7", "clock8", "clock9", "clock10", "clock11", "clock12", "clock130", "clock230", "clock330",
    "clock430", "clock530", "clock630", "clock730", "clock830", "clock930", "clock1030", "clock1130", "clock1230",
    "timer_clock",
})  # fmt: skip
"""Glyphs that can hardly be told from a neighbour at 64 px (moon phases, coloured hearts, front views, banknotes)."""
