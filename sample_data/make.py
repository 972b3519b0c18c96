"""Make the sample files of this folder, always the same bytes.

    python sample_data/make.py [FOLDER]

Everything is invented: names are drawn from lists, e-mail addresses lie in example.com, .org and
.net, telephone numbers in Ofcom's range for drama (+44 7700 900000 to 900999), IP addresses in the
documentation ranges. Each file has a random generator of its own, so that a change to one file
leaves the others alone. The Parquet file names the version of pyarrow that wrote it, so its bytes
are the same only for the same version.
"""

# Letters of other scripts that look like Latin ones are what these lists are for: RUF001.
# ruff: noqa: RUF001

from __future__ import annotations

import csv
import json
import random
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Json: TypeAlias = "str | int | bool | Decimal | list[Json] | dict[str, Json] | None"

SEED = 911
CUSTOMERS = 1873  # with the rows below: 2,000 rows
REPEATED = 100
EMAIL_ONLY = 15
NOBODY = 12
COUPLES = 8

HEADER = (
    "customer_id", "email", "mobile_number", "$FirstName", "$LastName", "address", "$City", "$Zip", "$Country",
    "tier", "skill_level", "signup_date", "notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Customer:
    """One row of the extract, cell by cell in the order of HEADER."""

    customer_id: str = ""
    email: str = ""
    mobile_number: str = ""
    first_name: str = ""
    last_name: str = ""
    address: str = ""
    city: str = ""
    zip: str = ""
    country: str = ""
    tier: str = ""
    skill_level: str = ""
    signup_date: str = ""
    notes: str = ""

    def cells(self) -> list[str]:
        """Return the cells, in the order of HEADER."""
        return [getattr(self, name) for name in Customer.__slots__]


@dataclass(frozen=True, slots=True)
class Culture:
    """Where a customer lives: lists are parted by "|"; a name may bring its Latin spelling after
    "/".

    In zip, # is a digit and @ a letter; in street, {n} is the number of the house.
    """

    weight: int
    country: str
    given: str
    family: str
    street: str
    city: str
    zip: str


# fmt: off
CULTURES = (
    Culture(
        30, "GB", "Alice|Oliver|Grace|Harry|Ivy|Jack|Ruby|Theo|Zoë|Noah",
        "Ashdown|Birtwell|Carrow|D'Arcy|Eastlake|Fenwick|O'Hare|Smith-Rowe|Thornby|Wexcombe",
        "{n} Mill Lane|{n} Station Road|{n} St. Mary's Close", "Leeds|Bristol|Norwich|Dundee", "@@# #@@|@@## #@@",
    ),
    Culture(
        14, "DE", "Jörg|Anke|Lutz|Käthe|Björn|Ute|Frauke|Götz",
        "Müller|Weiß|Schröder|Großmann|Vogt|Kühn|von der Heide|Öztürk",
        "Gartenstraße {n}|Am Mühlbach {n}|Lindenallee {n}", "Dresden|Leipzig|Köln|Görlitz",
        "01###|04###|5####|02###",
    ),
    Culture(
        8, "FR", "Chloé|Loïc|Anaïs|Rémi|Françoise|Gaël", "Lefèvre|Béranger|d'Aubray|L'Hôte|Noël|Garçon",
        "{n}, rue des Lilas|{n} bis, avenue du Port", "Nîmes|Besançon|Mâcon", "01###|06###|3####",
    ),
    Culture(
        6, "US", "Madison|Tyler|Brooke|Logan|Sierra|Dakota", "Hollowell|Pennington|Stockbridge|Wetherby|Null|True",
        "{n} Elm Street|{n} County Road 9", "Boston|Hartford|Portland", "02###|06###-####|9####",
    ),
    Culture(
        6, "PL", "Łukasz|Małgorzata|Żaneta|Świętosław|Zbigniew", "Wójcik|Dąbrowska|Źrebiec|Krzyżak|Łęcki",
        "ul. Różana {n}|os. Młodości {n}", "Łódź|Gdańsk|Wrocław", "0#-###|8#-###",
    ),
    Culture(
        4, "CZ", "Jiří|Růžena|Oldřich|Žofie", "Dvořáčková|Kříž|Šťastný|Hloušek", "Nádražní {n}", "Plzeň|Třebíč",
        "### ##",
    ),
    Culture(
        4, "TR", "Işıl|Çağrı|Ömer|Gülşen", "Yıldız|Güneş|Şahin|Koç", "Gül Sokak No: {n}", "İzmir|Eskişehir",
        "0####|3####",
    ),
    Culture(
        4, "NO", "Bjørn|Åse|Øyvind|Sølvi", "Sæther|Håkonsen|Ødegård|Moen", "Fjellveien {n}", "Tromsø|Ålesund",
        "0###|6###",
    ),
    Culture(
        2, "IS", "Þóra|Guðrún|Sigurður", "Ævarsdóttir|Þorsteinsson|Jónsdóttir", "Laugavegur {n}",
        "Reykjavík|Ísafjörður", "1##",
    ),
    Culture(
        2, "NA", "Ndapewa|Johannes|Selma", "Shikongo|Nangolo|van Wyk", "{n} Acacia Street", "Windhoek|Lüderitz",
        "#####",
    ),
    Culture(
        4, "VN", "Hương|Đức|Thảo|Quỳnh", "Nguyễn|Trần Thị|Đặng|Phạm Văn", "{n} phố Hàng Bông", "Hà Nội|Đà Nẵng",
        "######",
    ),
    Culture(
        4, "GR", "Ελένη/eleni|Γιώργος/giorgos|Άννα/anna|Νίκος/nikos",
        "Παπαδάκη/papadaki|Βλάχος/vlachos|Σταύρου/stavrou", "Οδός Ελιάς {n}", "Αθήνα|Πάτρα", "### ##",
    ),
    Culture(
        5, "UA", "Олена/olena|Тарас/taras|Єва/yeva|Ганна/hanna",
        "Ковальчук/kovalchuk|Щербина/shcherbyna|Гриценко/hrytsenko", "вул. Садова, {n}", "Львів|Харків",
        "0####|6####",
    ),
    Culture(
        3, "BG", "Цветан/tsvetan|Ралица/ralitsa|Юлия/yuliya", "Стоянова/stoyanova|Ангелов/angelov", "ул. „Роза“ {n}",
        "Пловдив|Русе", "####",
    ),
    Culture(
        3, "GE", "ნინო/nino|დავით/davit|ქეთევან/ketevan", "ბერიძე/beridze|კაპანაძე/kapanadze", "ვარდების ქუჩა {n}",
        "თბილისი", "0###",
    ),
    Culture(
        2, "AM", "Անի/ani|Վահան/vahan", "Գրիգորյան/grigoryan|Սարգսյան/sargsyan", "Այգու փողոց {n}", "Երևան", "00##",
    ),
    Culture(
        3, "IL", "נועה/noa|יואב/yoav|תמר/tamar", "כהן/kohen|פרידמן/fridman|אבוטבול/abutbul", "רחוב הגפן {n}",
        "חיפה|רמת גן", "#######",
    ),
    Culture(
        5, "EG", "ليلى/layla|يوسف/yusuf|مريم/maryam|كريم/karim", "الحداد/alhaddad|منصور/mansur|النجار/alnajjar",
        "شارع النخيل {n}", "القاهرة|أسوان", "#####",
    ),
    Culture(
        3, "IR", "شیرین/shirin|کیان/kian", "رستمی/rostami|فرهادپور/farhadpur", "خیابان گلستان {n}", "شیراز",
        "##########",
    ),
    Culture(
        3, "IN", "अनन्या/ananya|रोहित/rohit|वीणा/veena", "शर्मा/sharma|त्रिवेदी/trivedi",
        "{n}, गांधी मार्ग|{n}, MG Road", "जयपुर|पुणे", "3#####",
    ),
    Culture(1, "IN", "কৌশিক/koushik|মিতা/mita", "সেন/sen|চক্রবর্তী/chakrabarti", "{n}, Lake Road", "কলকাতা", "7#####"),
    Culture(1, "IN", "மீனா/meena|அருள்/arul", "முத்துக்குமார்/muthukumar", "{n}, Temple Street", "மதுரை", "6#####"),
    Culture(1, "IN", "ప్రియ/priya|వేణు/venu", "రెడ్డి/reddy", "{n}, Station Road", "విజయవాడ", "5#####"),
    Culture(
        3, "TH", "สมหญิง/somying|ธนา/thana", "วงศ์ทอง/wongthong|แสงดาว/saengdao", "{n} ซอยมะลิ", "เชียงใหม่",
        "#####",
    ),
    Culture(
        5, "CN", "小丽/xiaoli|建国/jianguo|梦瑶/mengyao|子轩/zixuan", "陈/chen|欧阳/ouyang|赵/zhao|𠮷田/jitian",
        "桂花路{n}号", "杭州|成都", "######",
    ),
    Culture(
        5, "JP", "さくら/sakura|健太/kenta|ユキ/yuki|美咲/misaki", "髙橋/takahashi|渡邊/watanabe|小鳥遊/takanashi",
        "桜町{n}番地", "札幌市|長崎市", "0##-####|8##-####",
    ),
    Culture(
        4, "KR", "지우/jiwoo|민준/minjun|서연/seoyeon", "김/kim|박/park|남궁/namgung", "장미로 {n}", "부산|수원",
        "0####|4####",
    ),
    Culture(2, "ET", "ሰላም/selam|ዳዊት/dawit", "ተስፋዬ/tesfaye|በቀለ/bekele", "{n} Meskel Road", "አዲስ አበባ", "1###"),
)

PLAIN_NOTES = (
    "call after 18:00 ☎", "prefers e-mail", "gift wrap ", "moved house in spring", "allergic to wool", "VIP 🎁",
    "student card seen", "speaks 日本語", "returns often", "asked for the catalogue", "a;b|c,d", "naïve café",
    "cafe\u0301 (decomposed)", 'Said "call me back", twice', 'The "Old" account', "leave parcel\nwith neighbour",
    'Line one\n\nLine three, "quoted"', "tab\there",
)

# What makes a reader that guesses types change the value.
TEMPTING_NOTES = (
    "1e5", "TRUE", "false", "NULL", "null", "None", "NaN", "nan", "N/A", "NA", "2024-01-02", "007", "0x1F", "-0",
    "+5", "1,5",
    "1_000", "Infinity", "12:30", "1.10", "00", "\\N", "#N/A", "01/02/03", "9007199254740993", "=1+1", "-", "@home",
    "yes",
)

LATIN = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "ð": "d", "þ": "th", "ı": "i"})
TIERS = ("bronze",) * 9 + ("silver",) * 6 + ("gold",) * 3 + ("platinum", "Gold", "")
PLACEHOLDERS = ("n/a", "unknown", "NULL", "none")
COLORS = ("blue", "green", "red", "black", "teal", "no preference")
RATIOS = ("0.1", "1.10", "1E-7", "-0.0", "0.30000000000000004", "3.14159265358979323846")
DRINKS = ("Coffee", "Tea", "Mate", "Lassi", "抹茶", "Café crème", "Kwas \"dark\"", "Water")

JOHN = Customer(
    "JohnSmith911", "john.smith@example.com", "+447700900911", "John", "Smith", "12 Mill Lane", "Leeds", "LS1 4AB",
    "GB",
    "gold", "7", "2019-05-17", "",
)
FAMILY_EMAIL = "the.carrows@example.net"

# The extract begins with these: John on line 12, the first row without an identity on line 17.
OPENING = (
    Customer(
        "0004711", "elke.vogt@example.org", "", "Elke", "Vogt", "Gartenstraße 5\nHinterhaus", "Dresden", "01234",
        "DE", "silver", "3", "2014-02-28", "an old number: the zeros belong to it",
    ),
    Customer(
        "4711", "otto.weiss@example.org", "", "Otto", "Weiß", "Am Mühlbach 4711", "Köln", "50667", "DE", "bronze",
        "4", "2021-07-01", "not customer 0004711",
    ),
    Customer(
        "K-100003", "chen.xiaoli@example.com", "+447700900003", "小丽", "陈", "桂花路8号", "杭州", "310000", "CN",
        "gold", "5", "2020-10-10", 'Said "call me back", twice',
    ),
    Customer(
        "K-100004", "layla@example.net", "+44 7700 900004", "ليلى", "الحداد", "شارع النخيل ١٢", "القاهرة", "00511",
        "EG", "", "", "", "Line one\n\nLine three",
    ),
    Customer(
        "K-100005", "odette.null@example.com", "", "Odette", "Null", "5 Elm Street", "Boston", "02134", "US",
        "bronze", "1", "2022-12-31", "NULL",
    ),
    Customer(
        "K-100006", "gulsen@example.com", "", "Gülşen", "Şahin", "Gül Sokak No: 7", "İzmir", "03500", "TR", "silver",
        "007", "2024-01-02", "TRUE",
    ),
    Customer(
        "K-100007", "", "+447700900007", "Noah", "O'Hare", "\"The Old Mill\", 3 Mill Lane", "Norwich", "NR2 1AA",
        "GB", "bronze", "2", "2018-08-08", "=SUM(A1:A3)",
    ),
    JOHN,
    Customer("K-100009", "Anke.Kuehn@Example.org", "", "Anke", "Kühn", "", "", "", "DE", "bronze", "1e5", "", "1e5"),
    Customer(
        "K-100010", FAMILY_EMAIL, "+447700900010", "Grace", "Carrow", "1 Station Road", "Bristol", "BS1 1AA", "GB",
        "gold", "8", "2016-01-20", "2024-01-02",
    ),
    Customer(
        "K-100011", FAMILY_EMAIL, "+447700900010", "Theo", "Carrow", "1 Station Road", "Bristol", "BS1 1AA", "GB",
        "silver", "4", "2016-01-20", "same household as K-100010",
    ),
    Customer(
        "K-100012", FAMILY_EMAIL, "", "Ivy", "Carrow", "1 Station Road", "Bristol", "BS1 1AA", "GB", "bronze", "2",
        "2023-03-05", "",
    ),
    Customer(
        "", "", "", "Ruby", "Ashdown", "9 Mill Lane", "Leeds", "LS2 7AA", "GB", "bronze", "3", "2015-05-05",
        "her customer number was lost",
    ),
    Customer(
        "K-100014", FAMILY_EMAIL, "", "Jack", "Carrow", "1 Station Road", "Bristol", "BS1 1AA", "GB", "bronze", "1",
        "2023-03-05", "",
    ),
    Customer(
        "K-100015", FAMILY_EMAIL.title(), "", "Zoë", "Carrow", "1 Station Road", "Bristol", "BS1 1AA", "GB", "", "",
        "", "the same address, spelled in capitals",
    ),
)

JOHN_SMITH = """\
  {
  "user_identities" : {
      "email": "john.smith@example.com",
      "customerid": "JohnSmith911"
  },
  "user_attributes" : {
      "skill_level": 9,
  },
  "deleted_user_attributes" : [
      "color_preference"
  ],
  "environment": "production"
}
"""

MANIFEST: dict[str, Json] = {
    "hasHeaderRow": True,
    "columns": [
        {"column": "Member No", "action": "keep", "field": "user_identities.customer_id"},
        {"column": "E-Mail", "action": "keep", "field": "user_identities.email"},
        {"column": "Points", "action": "keep", "field": "user_attributes.loyalty_points"},
        {"column": "Joined", "action": "keep", "field": "user_attributes.signup_date"},
        {"column": "Internal Flag", "action": "ignore"},
    ],
}
# fmt: on


# Drawing


def generator(name: str) -> random.Random:
    """Return the random generator of one file."""
    return random.Random(f"{SEED}/{name}")


def one_of(rng: random.Random, listed: str) -> str:
    """Return one of several texts parted by "|"."""
    return rng.choice(listed.split("|"))


def filled(rng: random.Random, pattern: str) -> str:
    """Return a pattern with a digit for each # and a letter for each @."""
    letters = {"#": "0123456789", "@": "ABCEGHLNRSTW"}
    return "".join(rng.choice(letters[sign]) if sign in letters else sign for sign in pattern)


def latin(name: str) -> str:
    """Return the letters of a name as an e-mail address has them."""
    spelled = unicodedata.normalize("NFKD", name.lower().translate(LATIN))
    return "".join(sign for sign in spelled if sign.isascii() and sign.isalpha())


def some_uuid(rng: random.Random) -> str:
    """Return a UUID of version 4."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def some_day(rng: random.Random, first: date, last: date) -> date:
    """Return a day from first to the one before last."""
    return first + timedelta(days=rng.randrange((last - first).days))


class Addresses:
    """E-mail addresses, none given out twice."""

    def __init__(self, rng: random.Random, taken: Iterable[str]) -> None:
        """Begin with the addresses that are taken."""
        self._rng = rng
        self._taken = {address.lower() for address in taken}

    def new(self, local: str) -> str:
        """Return a new address like local@example.com."""
        domain = self._rng.choice(("example.com", "example.com", "example.org", "example.net"))
        address = f"{local}@{domain}"
        while address in self._taken:
            address = f"{local}{self._rng.randrange(1, 1000)}@{domain}"
        self._taken.add(address)
        return address


# legacy.csv


def make_customers() -> list[Customer]:
    """Return the customers of the shop, each once, those of the opening first."""
    rng = generator("customers")
    opening = [customer for customer in OPENING if customer.customer_id]
    addresses = Addresses(rng, [customer.email for customer in opening])
    customers = [
        make_customer(rng, addresses, 100016 + place) for place in range(CUSTOMERS - len(opening))
    ]
    give_phones(rng, customers, {customer.mobile_number.replace(" ", "") for customer in opening})
    share_addresses(rng, customers)
    for place, placeholder in zip(
        rng.sample(range(len(customers)), 10), PLACEHOLDERS * 3, strict=False
    ):
        customers[place] = replace(
            customers[place], **{rng.choice(("email", "mobile_number")): placeholder}
        )
    return opening + customers


def make_customer(rng: random.Random, addresses: Addresses, number: int) -> Customer:
    """Return a customer, without a telephone number."""
    home = rng.choices(CULTURES, [culture.weight for culture in CULTURES])[0]
    given, _, given_latin = one_of(rng, home.given).partition("/")
    family, _, family_latin = one_of(rng, home.family).partition("/")
    local = f"{latin(given_latin or given)}.{latin(family_latin or family)}"
    email = addresses.new(local) if rng.random() < 0.97 else ""
    return Customer(
        customer_id=customer_number(rng, number),
        email=email.title() if rng.random() < 0.03 else email,
        first_name=given if rng.random() < 0.98 else "",
        last_name=family,
        address=some_address(rng, home),
        city=one_of(rng, home.city),
        zip=filled(rng, one_of(rng, home.zip)),
        country=home.country,
        tier=rng.choice(TIERS),
        skill_level=rng.choice(("", "007", "1e5", "7.0"))
        if rng.random() < 0.06
        else str(rng.randint(1, 10)),
        signup_date=some_signup(rng),
        notes=some_note(rng),
    )


def customer_number(rng: random.Random, number: int) -> str:
    """Return a number of the shop's present scheme, or of the one before."""
    return f"{number - 90000:07}" if rng.random() < 0.1 else f"K-{number}"


def some_address(rng: random.Random, home: Culture) -> str:
    """Return an address: some are empty, of two lines, or hold quotes."""
    street = one_of(rng, home.street).format(n=rng.randint(1, 180))
    kind = rng.random()
    if kind < 0.06:
        return ""
    if kind < 0.14:
        return f"c/o {rng.choice(('Reception', 'Shop 4', 'Flat 2B'))}\n{street}"
    return f'"Rose House", {street}' if kind < 0.17 else street


def some_signup(rng: random.Random) -> str:
    """Return a date: some are empty, some as an older system wrote them."""
    day = some_day(rng, date(2012, 1, 1), date(2024, 6, 30))
    kind = rng.random()
    if kind < 0.1:
        return ""
    return day.strftime("%d/%m/%Y") if kind < 0.13 else day.isoformat()


def some_note(rng: random.Random) -> str:
    """Return a note: most are empty."""
    kind = rng.random()
    if kind < 0.7:
        return ""
    return rng.choice(PLAIN_NOTES if kind < 0.92 else TEMPTING_NOTES)


def give_phones(rng: random.Random, customers: list[Customer], taken: set[str]) -> None:
    """Give about half of the customers a number, most of them one of their own."""
    numbers = [number for last in range(1000) if (number := f"+447700900{last:03}") not in taken]
    rng.shuffle(numbers)
    numbers = numbers[:900] + numbers[:30]
    for place, number in zip(rng.sample(range(len(customers)), len(numbers)), numbers, strict=True):
        spaced = f"{number[:3]} {number[3:7]} {number[7:]}"
        customers[place] = replace(
            customers[place], mobile_number=spaced if rng.random() < 0.1 else number
        )


def share_addresses(rng: random.Random, customers: list[Customer]) -> None:
    """Let some couples share an e-mail address."""
    with_email = [place for place, customer in enumerate(customers) if customer.email]
    chosen = rng.sample(with_email, 2 * COUPLES)
    for one, other in zip(chosen[::2], chosen[1::2], strict=True):
        customers[other] = replace(customers[other], email=customers[one].email)


def make_extract(customers: Sequence[Customer]) -> list[Customer]:
    """Return the rows of the extract: the customers, some again, and rows that lack identities."""
    rng = generator("legacy.csv")
    opening = len(OPENING)
    first = [customer for customer in customers if customer not in OPENING]
    placed = [(float(place), row) for place, row in enumerate([*OPENING, *first])]
    end = float(len(placed))
    addresses = Addresses(rng, [customer.email for customer in customers])
    for place, row in rng.sample(placed[opening:], REPEATED - 4) + rng.sample(placed[-400:-300], 4):
        placed.append((rng.uniform(place + 0.5, end), repeated(rng, addresses, row)))
    strangers = [email_only(addresses, number) for number in range(EMAIL_ONLY - 6)]
    known = [
        Customer(email=row.email, signup_date="2024-06-01")
        for row in rng.sample(first, 40)
        if "@" in row.email
    ]
    nobody = [
        replace(row, customer_id="", email="", mobile_number="")
        for row in rng.sample(first, NOBODY - 1)
    ]
    placed += [(rng.uniform(opening, end), row) for row in [*strangers, *known[:6], *nobody]]
    return [row for _, row in sorted(placed, key=lambda one: one[0])]


def email_only(addresses: Addresses, number: int) -> Customer:
    """Return a row of somebody who only ever took the newsletter."""
    return Customer(
        email=addresses.new(f"newsletter.reader{number + 1}"),
        tier="bronze",
        notes="newsletter sign-up",
    )


def repeated(rng: random.Random, addresses: Addresses, row: Customer) -> Customer:
    """Return the row of a customer again, as it was or with something changed."""
    kind = rng.random()
    if kind < 0.4:
        return row
    if kind < 0.75:
        return replace(
            row,
            tier=rng.choice([tier for tier in ("silver", "gold", "platinum") if tier != row.tier]),
        )
    if kind < 0.92:
        return replace(
            row, email=addresses.new(f"{row.email.partition('@')[0].lower() or 'customer'}.new")
        )
    return replace(row, email=row.email.upper(), notes="address checked")


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ","
) -> None:
    """Write a CSV file in UTF-8, quoted only where it must be."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


# crm.parquet

CRM = pa.schema(
    [
        ("customer_id", pa.string()),
        ("email", pa.string()),
        ("lifetime_value", pa.decimal128(12, 2)),
        ("visits", pa.int64()),
        ("newsletter", pa.bool_()),
        ("last_order", pa.timestamp("us", tz="UTC")),
        ("birthday", pa.date32()),
        ("score", pa.float64()),
        ("sizes", pa.list_(pa.string())),
        ("color_preference", pa.string()),
    ]
)


def make_crm(customers: Sequence[Customer]) -> list[dict[str, object]]:
    """Return the rows of the CRM, John's among them."""
    rng = generator("crm.parquet")
    others = [customer for customer in customers if customer != JOHN]
    rows = [crm_row(rng, customer) for customer in rng.sample(others, 499)]
    rows.insert(7, {
        "customer_id": JOHN.customer_id, "email": JOHN.email, "lifetime_value": Decimal("1250.50"), "visits": 42,
        "newsletter": True, "last_order": datetime(2024, 3, 1, 9, 30, 0, 123456, tzinfo=UTC),
        "birthday": date(1984, 2, 29), "score": 0.875, "sizes": ["40", "41"], "color_preference": "blue",
    })  # fmt: skip
    rows[0] |= {"lifetime_value": Decimal("9999999999.99"), "visits": 2**53 + 1, "score": 0.1 + 0.2}
    rows[1] |= {"lifetime_value": Decimal("-12.50"), "visits": 0, "score": 1e-7, "sizes": []}
    return rows


def crm_row(rng: random.Random, customer: Customer) -> dict[str, object]:
    """Return a customer as the CRM knows him: any value may be missing."""
    last_order = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=rng.randrange(4 * 365 * 86_400_000_000)
    )
    row: dict[str, object] = {
        "email": customer.email if "@" in customer.email else None,
        "lifetime_value": Decimal(rng.randrange(500_000)).scaleb(-2),
        "visits": rng.randrange(400),
        "newsletter": rng.random() < 0.6,
        "last_order": last_order,
        "birthday": some_day(rng, date(1938, 1, 1), date(2006, 1, 1)),
        "score": rng.random(),
        "sizes": [str(size) for size in sorted(rng.sample(range(34, 48), rng.randint(0, 3)))],
        "color_preference": rng.choice(COLORS),
    }
    present = {name: value if rng.random() < 0.9 else None for name, value in row.items()}
    return {"customer_id": customer.customer_id, **present}


def write_crm(path: Path, rows: list[dict[str, object]]) -> None:
    """Write the rows as Parquet."""
    pq.write_table(pa.Table.from_pylist(rows, CRM), path, compression="zstd")


def write_bytes(path: Path, customers: Sequence[Customer]) -> None:
    """Write a Parquet file whose texts are BINARY without a word that they are text, as older
    engines did.
    """
    members = [customer.customer_id.encode() for customer in customers if customer.customer_id][:3]
    columns = {"customer_id": members, "club": [b"silver", "\u00e9lite".encode(), None]}
    pq.write_table(pa.table(columns), path)


# batches.jsonl


def make_batches(customers: Sequence[Customer]) -> list[dict[str, Json]]:
    """Return the batches an app sent: of customers, of new users and of devices without a user."""
    rng = generator("batches.jsonl")
    others = [customer for customer in customers if customer != JOHN]
    batches = [
        app_batch(rng, place, identities(customer))
        for place, customer in enumerate(rng.sample(others, 220))
    ]
    batches += [
        app_batch(
            rng,
            220 + place,
            {"customer_id": f"app-{place:04}", "email": f"app.user{place}@example.org"},
        )
        for place in range(48)
    ]
    batches += [app_batch(rng, 268 + place, {}) for place in range(25)]
    rng.shuffle(batches)
    batches.insert(6, john_batch())
    share_tablet(rng, batches)
    return repeat_requests(rng, batches)


def identities(customer: Customer) -> dict[str, Json]:
    """Return the identities of a customer, as a batch states them."""
    found: dict[str, Json] = {"customer_id": customer.customer_id}
    if "@" in customer.email:
        found["email"] = customer.email
    if customer.mobile_number.startswith("+"):
        found["mobile_number"] = customer.mobile_number
    return found


def john_batch() -> dict[str, Json]:
    """Return what the app says of John Smith."""
    return {
        "source_request_id": "req-john-1",
        "environment": "production",
        "timestamp_unixtime_ms": 1_718_000_000_000,
        "user_identities": {"customer_id": JOHN.customer_id, "email": JOHN.email},
        "user_attributes": {
            "favorite_drink": "Coffee",
            "basket_value": Decimal("12.50"),
            "beta_tester": None,
        },
        "device_info": {"platform": "iOS", "ios_idfv": "5A1F3C52-6F0B-4D8E-9C11-2B7A90E4D911"},
        "mp_deviceid": "0d9b7c1e-5f43-4c1a-8a55-1f6f0a2b3911",
    }


def app_batch(rng: random.Random, place: int, known: dict[str, Json]) -> dict[str, Json]:
    """Return a batch of a user; of a device alone where no identity is known."""
    batch: dict[str, Json] = {}
    if rng.random() < 0.6:
        batch["source_request_id"] = f"req-{place:04}"
    batch["environment"] = "development" if rng.random() < 0.14 else "production"
    if rng.random() < 0.8:
        batch["timestamp_unixtime_ms"] = 1_717_200_000_000 + rng.randrange(2_592_000_000)
    if known:
        batch["user_identities"] = known
    attributes = some_attributes(rng)
    batch["user_attributes"] = attributes
    if rng.random() < 0.15:
        names = [
            name
            for name in ("color_preference", "notes", "favorite_drink")
            if name not in attributes
        ]
        batch["deleted_user_attributes"] = [*rng.sample(names, rng.randint(1, len(names)))]
    if not known or rng.random() < 0.45:
        batch["device_info"] = some_device(rng)
        batch["mp_deviceid"] = some_uuid(rng)
    return batch | some_extras(rng)


def some_attributes(rng: random.Random) -> dict[str, Json]:
    """Return a few attributes, of every kind a batch can state."""
    makers: dict[str, Callable[[], Json]] = {
        "skill_level": lambda: rng.randint(1, 10),
        "tier": lambda: rng.choice(("silver", "gold", "platinum")),
        "favorite_drink": lambda: rng.choice(DRINKS),
        "basket_value": lambda: Decimal(rng.randrange(20_000)).scaleb(-2),
        "gift_card": lambda: rng.randrange(10**19, 10**22),
        "ratio": lambda: Decimal(rng.choice(RATIOS)),
        "newsletter": lambda: rng.random() < 0.5,
        "sizes": lambda: [
            str(size) for size in sorted(rng.sample(range(34, 48), rng.randint(1, 3)))
        ],
        "scores": lambda: [rng.randint(0, 9), Decimal(rng.randrange(1000)).scaleb(-2)],
        "beta_tester": lambda: None,
        "$City": lambda: one_of(rng, rng.choice(CULTURES).city),
        "last_search": lambda: rng.choice(
            ("red shoes", "007", "größe 40", "ボタン 👟", "a\tb", "C:\\temp")
        ),
    }
    return {name: makers[name]() for name in rng.sample(list(makers), rng.randint(1, 6))}


def some_device(rng: random.Random) -> dict[str, Json]:
    """Return a device; of some the advertising identity is switched off."""
    platform = rng.choice(("iOS", "iOS", "Android", "Android", "web"))
    device: dict[str, Json] = {"platform": platform}
    if platform == "iOS":
        device["ios_idfv"] = some_uuid(rng).upper()
        if rng.random() < 0.15:
            device |= {"ios_advertising_id": str(uuid.UUID(int=0)), "limit_ad_tracking": True}
    elif platform == "Android":
        device["android_advertising_id"] = some_uuid(rng)
    if rng.random() < 0.3:
        device |= {
            "os_version": f"{rng.randint(11, 17)}.{rng.randint(0, 6)}",
            "locale_language": "en",
        }
    return device


def some_extras(rng: random.Random) -> dict[str, Json]:
    """Return what few batches have: consent, an event, an attribution, an application, an address."""
    at = 1_717_200_000_000 + rng.randrange(2_592_000_000)
    given: dict[str, Json] = {
        "consented": rng.random() < 0.7,
        "timestamp_unixtime_ms": at,
        "document": "privacy_v3",
    }
    event: dict[str, Json] = {
        "event_type": "custom_event",
        "data": {
            "event_name": rng.choice(("Attributes Updated", "Wishlist Shared")),
            "custom_event_type": "other",
            "timestamp_unixtime_ms": at,
            "custom_attributes": {"screen": "profile"},
        },
    }
    attribution: dict[str, Json] = {
        "service_provider": "Example Ads", "publisher": "Example Weekly", "campaign": "Spring 24",
    }  # fmt: skip
    extras: dict[str, tuple[float, Json]] = {
        "consent_state": (0.04, {"gdpr": {"marketing": given}}),
        "events": (0.06, [event]),
        "attribution_info": (0.05, attribution),
        "application_info": (
            0.05,
            {"application_name": "Example Shop", "application_version": "3.1.0"},
        ),
        "ip": (0.05, f"192.0.2.{rng.randrange(1, 255)}"),
    }
    return {name: value for name, (share, value) in extras.items() if rng.random() < share}


def share_tablet(rng: random.Random, batches: list[dict[str, Json]]) -> None:
    """Let a few users of the production environment sign in on one tablet."""
    users = [
        batch
        for batch in batches[10:]
        if "user_identities" in batch and batch["environment"] == "production"
    ]
    for batch in rng.sample(users, 4):
        batch["device_info"] = {
            "platform": "iOS",
            "ios_idfv": "C0FFEE00-1234-4ABC-8DEF-7700900911AA",
        }
        batch["mp_deviceid"] = "c0ffee00-4321-4cba-9fed-7700900911aa"


def repeat_requests(rng: random.Random, batches: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Return the batches with six of them sent again, two of these with other content."""
    named = [
        place for place, batch in enumerate(batches) if place > 10 and "source_request_id" in batch
    ]
    result = list(batches)
    for turn, place in enumerate(sorted(rng.sample(named, 6), reverse=True)):
        again = dict(batches[place])
        if turn < 2:
            again["user_attributes"] = {"favorite_drink": "never to be seen"}
        result.insert(rng.randrange(place + 1, len(result) + 1), again)
    return result


# Activity: what customers did in the app and on the web, over the 90 days before ACTIVITY_END.
ACTIVITY_END = datetime(2026, 11, 20, 12, tzinfo=UTC)
VISITS = 400
PRODUCTS = (
    ("sh-01", "Running shoe", "shoes", "89.90"),
    ("sh-02", "Hiking boot", "shoes", "149.00"),
    ("ja-01", "Rain jacket", "jackets", "119.50"),
    ("ja-02", "Wool jacket", "jackets", "199.00"),
    ("ac-01", "Cap", "accessories", "19.95"),
    ("ac-02", "Socks, 3 pairs", "accessories", "12.00"),
)


def make_activity(customers: Sequence[Customer]) -> list[dict[str, Json]]:
    """Return the visits of some customers, each a batch with its events, in the order of time."""
    rng = generator("activity.jsonl")
    known = [customer for customer in customers if customer.customer_id and customer.email]
    regulars = rng.sample(known, 60)
    john = next(customer for customer in customers if customer.customer_id == "JohnSmith911")
    visits = [
        visit(rng, rng.choice(regulars if rng.random() < 0.7 else known)) for _ in range(VISITS - 6)
    ]
    visits += [visit(rng, john, buys=place % 2 == 0) for place in range(6)]
    return sorted(visits, key=lambda one: one["timestamp_unixtime_ms"])  # type: ignore[arg-type, return-value]


def visit(rng: random.Random, customer: Customer, *, buys: bool | None = None) -> dict[str, Json]:
    """Return a visit: a session with screens, searches and products, perhaps a purchase."""
    at_ms = int(ACTIVITY_END.timestamp() * 1000) - rng.randrange(90 * 24 * 3600 * 1000)
    session = some_uuid(rng)
    events: list[Json] = []

    def add(kind: str, data: dict[str, Json]) -> None:
        nonlocal at_ms
        events.append(
            {
                "data": {**data, "timestamp_unixtime_ms": at_ms, "session_uuid": session},
                "event_type": kind,
            }
        )
        at_ms += rng.randrange(2_000, 90_000)

    add("session_start", {})
    add("screen_view", {"screen_name": "home"})
    looked = rng.sample(PRODUCTS, rng.randrange(1, 4))
    for number, _name, category, price in looked:
        add(
            "custom_event",
            {
                "event_name": "product viewed",
                "custom_event_type": "navigation",
                "custom_attributes": {"sku": number, "category": category, "price": price},
            },
        )
    if rng.random() < 0.3:
        add(
            "custom_event",
            {
                "event_name": "search",
                "custom_event_type": "search",
                "custom_attributes": {"term": rng.choice(("boots", "rain", "gift", "größe 40"))},
            },
        )
    if buys or (buys is None and rng.random() < 0.35):
        products: list[Json] = [
            {
                "id": number,
                "name": name,
                "category": category,
                "price": Decimal(price),
                "quantity": rng.choice((1, 1, 2)),
            }
            for number, name, category, price in looked
        ]
        total = sum((one["price"] * one["quantity"] for one in products), Decimal(0))  # type: ignore[index, call-overload, misc, operator]
        add(
            "commerce_event",
            {
                "product_action": {
                    "action": "purchase",
                    "transaction_id": f"T{rng.randrange(10**6):06}",
                    "total_amount": total,
                    "products": products,
                },
                "currency_code": "EUR",
            },
        )
    add("session_end", {"session_duration_ms": rng.randrange(20_000, 900_000)})
    batch: dict[str, Json] = {
        "environment": "production",
        "timestamp_unixtime_ms": at_ms,
        "user_identities": {"customer_id": customer.customer_id, "email": customer.email},
        "events": events,
    }
    if rng.random() < 0.25:
        batch["device_info"] = some_device(rng)
    if rng.random() < 0.15:
        batch["consent_state"] = {
            "gdpr": {"marketing": {"consented": rng.random() < 0.7, "timestamp_unixtime_ms": at_ms}}
        }
    return batch


def make_clicks(customers: Sequence[Customer]) -> list[tuple[str, ...]]:
    """Return the clicks on a newsletter: rows of a custom CSV feed with a custom event each."""
    rng = generator("newsletter-custom_event.csv")
    rows = []
    for customer in rng.sample([one for one in customers if one.customer_id], 120):
        at_ms = int(ACTIVITY_END.timestamp() * 1000) - rng.randrange(60 * 24 * 3600 * 1000)
        rows.append(
            (
                customer.customer_id,
                "newsletter clicked",
                "other",
                str(at_ms),
                rng.choice(("autumn", "winter", "sale")),
                f"{rng.randrange(1, 9):02}",
            )
        )
    return rows


def to_json(value: Json, *, spaced: bool = False) -> str:
    """Return JSON text; a Decimal keeps its digits, which json.dumps cannot do."""
    comma, colon = (", ", ": ") if spaced else (",", ":")
    if isinstance(value, dict):
        members = (
            json.dumps(name, ensure_ascii=spaced) + colon + to_json(value[name], spaced=spaced)
            for name in value
        )
        return "{" + comma.join(members) + "}"
    if isinstance(value, list):
        return "[" + comma.join(to_json(entry, spaced=spaced) for entry in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=spaced)


# loyalty.csv


def make_loyalty(customers: Sequence[Customer]) -> list[tuple[str, ...]]:
    """Return the members of a loyalty club: customers, and people the shop has never seen."""
    rng = generator("loyalty.csv")
    others = [customer for customer in customers if customer != JOHN and "@" in customer.email]
    undated = [customer for customer in others if not customer.signup_date]
    members = list(dict.fromkeys([*rng.sample(undated, 20), *rng.sample(others, 150)]))[:164]
    rows = [
        member(rng, customer.customer_id, customer.email if rng.random() < 0.9 else "")
        for customer in members
    ]
    rows += [
        member(rng, f"LC-{number}", f"club.member{number}@example.net") for number in range(1, 31)
    ]
    rows += [
        member(rng, f"LC-{number}", customer.email)
        for number, customer in enumerate(others[40:45], start=31)
    ]
    rng.shuffle(rows)
    rows.insert(4, (JOHN.customer_id, JOHN.email, "1250", "2018-11-02", "A;7"))
    return rows


def member(rng: random.Random, number: str, email: str) -> tuple[str, ...]:
    """Return the row of a member."""
    points = f"{rng.randrange(10_000):05}" if rng.random() < 0.1 else str(rng.randrange(10_000))
    joined = some_day(rng, date(2015, 1, 1), date(2024, 6, 30)).isoformat()
    return number, email, points, joined, rng.choice(("", "", "A;7", "B;1", "check"))


def main(folder: Path) -> None:
    """Write all the files into a folder."""
    customers = make_customers()
    write_csv(folder / "legacy.csv", HEADER, (row.cells() for row in make_extract(customers)))
    write_crm(folder / "crm.parquet", make_crm(customers))
    write_bytes(folder / "members.parquet", customers)
    lines = [
        to_json(batch, spaced=place % 9 == 4) for place, batch in enumerate(make_batches(customers))
    ]
    write_text(folder / "batches.jsonl", "".join(line + "\n" for line in lines))
    write_text(
        folder / "activity.jsonl",
        "".join(to_json(batch) + "\n" for batch in make_activity(customers)),
    )
    clicks = (
        "user_identities.customerid",
        "events.data.event_name",
        "events.data.custom_event_type",
        "events.data.timestamp_unixtime_ms",
        "events.data.custom_attributes.campaign",
        "events.data.custom_attributes.position",
    )
    write_csv(folder / "newsletter-custom_event.csv", clicks, make_clicks(customers))
    club = ("Member No", "E-Mail", "Points", "Joined", "Internal Flag")
    write_csv(folder / "loyalty.csv", club, make_loyalty(customers), delimiter=";")
    write_text(folder / "loyalty.manifest.json", json.dumps(MANIFEST, indent=2) + "\n")
    write_text(folder / "john-smith-unmended.json", JOHN_SMITH)
    write_text(folder / "john-smith.json", JOHN_SMITH.replace("9,", "9"))


def write_text(path: Path, text: str) -> None:
    """Write a text file, its lines ended alike on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
