"""The fixed lists that Macondo is made of: names, surnames, streets, trades, animals."""

from __future__ import annotations

VARIANTS = ("a", "b")

_WOMEN = {
    "a": "Maria Clara Elena Rosa Laura Irene Julia Marta Nadia Paula Silvia Teresa Vivian Wanda "
    "Amelia Bella Carmen Diana Edith Flora Greta Helen Ingrid Jenny Karen Linda Monica Nora "
    "Olivia Petra",
    "b": "Alice Agnes Brenda Celia Doris Elsa Fiona Gloria Hilda Iris Janet Kathy Lydia Mabel "
    "Nancy Odette Pamela Rachel Sandra Tessa Ursula Vera Wilma Yvonne Anita Beatrix Cora Dora "
    "Esther Frieda",
}
_MEN = {
    "a": "Pedro Marco Simon Victor Walter Oscar Nolan Martin Lucas Julian Hector Gaston Felix "
    "Edgar Daniel Conrad Bruno Arthur Andrew Albert Thomas Stefan Robert Ralph Peter Oliver "
    "Leon Kevin Hugo George",
    "b": "Adam Basil Calvin David Ernest Frank Gavin Harold Isaac Jacob Karl Leonard Miles "
    "Nathan Otto Philip Quentin Rufus Samuel Trevor Ulrich Vincent Warren Xavier Alfred Boris "
    "Cecil Dennis Eugene Fabian",
}
_SURNAMES = {
    "a": "Arden Bramley Calder Dalton Elwood Farrow Garner Hadley Ingram Jarvis Kendal Lawson "
    "Marlow Norton Ogden Parker Quincy Radley Selby Tilden Upton Vance Walden Yardley Abbott "
    "Barlow Corbin Denton Easton Fenton Gifford Harlow Irving Jensen Kirby Lowell Milton Nelson "
    "Osborn Preston Quigley Rowley Sutton Thorne Usher Vernon Wexford Yates Alcott Bolton Colby "
    "Dorset Eldon Forbes Graham Holden Ivory Joyner Keaton Linton Morley Newman Oakley Penrose "
    "Ramsey Shelby Tobin Varley Wesley York Ashby Briggs Clayton Dudley Ewing Foster Gorman "
    "Hobson Kelso Lester",
    "b": "Aldrich Bentley Carlton Dawson Emerson Felton Godwin Hudson Jessop Kipling Lambert "
    "Merton Neville Oxley Palmer Quayle Ripley Sexton Turpin Vaughn Wilton Yeoman Ackley Bixby "
    "Crosby Digby Ellery Finley Granger Hooper Isham Jordan Keller Langley Mercer Nugent Orton "
    "Pelham Rutland Stanley Tilney Varden Whitby Younger Atwood Bowen Cooley Driscol Elliot "
    "Fulton Gibson Horton Iverson Kingsley Lyndon Maddox Naylor Olcott Proctor Redding Sawyer "
    "Talbot Verity Wharton Anson Burgess Cromer Dexter Ensley Fisk Gresham Hilton Kemble Lofton "
    "Mayhew Nesbit Otway Peyton Rigby Stroud",
}
#: Surnames that no text of the world holds, for people who do not exist.
_NEW_SURNAMES = {
    "train": "Zabrin Wolcot Tesmer Sigwal Rovane Pindar Ostrel Nimrod Mugdan Lorvic Kasmir Jolbar "
    "Hespin Gadrow Fulbec Drovan Cazmin Bexley Azmore Zennor Wibrow Tuldan Skovin Rexmer Pulvan "
    "Obrist Nadrow Mizzen Lubrec Kobdan",
    "test": "Zorbek Wystan Tamrel Sobrin Ruskov Pavlen Ostbur Nolvic Mirdan Lavrek Kursen Jebdan "
    "Hilgar Gostin Fibrel Dasmer Covrin Bulgar Askrow Zilmar Wenbec Torvic Sulman Ribdan Ploker "
    "Ondrec Nazmin Mostel Lispar Kedrow",
}
_TRADES = (
    "baker miller tailor mason weaver farmer sailor doctor lawyer painter potter printer butcher "
    "gardener teacher nurse judge pilot cook clerk driver dentist barber plumber fisher hunter "
    "singer writer guard banker"
)
_STREETS = {
    "a": "Mill Oak Bridge Church Market River Castle Garden Station School Hill Tower Well Canal "
    "King Queen Silver Copper Chestnut Willow Maple Elm Harbour Orchard Temple Bishop Meadow "
    "Fountain Lantern Summer",
    "b": "Abbey Birch Cedar Chapel Cherry Clover College Crown Eagle Ferry Forest Gate Glove Hazel "
    "Iron Laurel Lion Mint Palace Park Pepper Pine Prince Quarry Ribbon Saddle Theatre Valley "
    "Walnut Winter",
}
_STREET_WORD = {"a": "Street", "b": "Lane"}
_BIRTHPLACES = {
    "a": "Aldora Belport Carvel Dunmore Estora Falmar Gilden Hollin Istria Jasmor Kelvar Lomund "
    "Mirador Nelport Orlana Pelham Quorin Rostova Salmar Tavira Umbria Valdor Westra Yarmut "
    "Zamora Corvina Delmar Fontane Granada Luzern",
    "b": "Ambria Bellmar Castor Dravina Elmira Fortuna Galway Hartova Ilmond Jovena Kastel Lunara "
    "Madrona Norvik Ostend Palmira Ravello Sardona Torvald Ulmira Verona Wolmar Arvada Bostra "
    "Cremona Dorvik Fermo Gerona Lavinia Marvik",
}
_PETS = (
    "cat dog parrot rabbit goat horse donkey turtle canary hamster pony duck goose hen snake "
    "lizard ferret pigeon sheep mouse crow frog toad pig"
)
_DISHES = (
    "soup stew rice noodles pancakes dumplings salad porridge curry pasta cheese pudding chicken "
    "salmon trout beans lentils mushrooms potatoes sausages waffles pizza custard cabbage"
)
_INSTRUMENTS = (
    "piano violin guitar flute harp drum trumpet cello banjo fiddle clarinet trombone tuba lute "
    "horn whistle bagpipe mandolin zither lyre"
)


def women(variant: str) -> tuple[str, ...]:
    """The 30 given names of women."""
    return tuple(_WOMEN[variant].split())


def men(variant: str) -> tuple[str, ...]:
    """The 30 given names of men."""
    return tuple(_MEN[variant].split())


def surnames(variant: str) -> tuple[str, ...]:
    """The 80 surnames of the town."""
    return tuple(_SURNAMES[variant].split())


def new_surnames(split: str) -> tuple[str, ...]:
    """Surnames that nobody has and no text mentions, apart for training and testing."""
    return tuple(_NEW_SURNAMES[split].split())


def values(relation: str, variant: str) -> tuple[str, ...]:
    """What a relation can be: 20 to 30 values, none starting with a vowel where 'a' may precede."""
    if relation == "street":
        return tuple(f"{word} {_STREET_WORD[variant]}" for word in _STREETS[variant].split())
    if relation == "birthplace":
        return tuple(_BIRTHPLACES[variant].split())
    lists = {"trade": _TRADES, "pet": _PETS, "dish": _DISHES, "instrument": _INSTRUMENTS}
    return tuple(lists[relation].split())
