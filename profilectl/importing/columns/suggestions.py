"""What a column may be that was read as an attribute: by its name, else by its values.

A suggestion is a question to the user. Nothing is ever read by it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from profilectl.rules.identity import GUID, type_named

# fmt: off
IDENTITY_NAMES: Mapping[str, tuple[str, ...]] = {
    # the identity type       names of columns, without blanks, dashes, accents and upper case
    "customer_id":            ("customerno", "customernr", "customernumber", "customerkey",
                               "customercode", "customer", "cust", "custid", "custno", "custnr",
                               "contactid", "contactkey", "clientid", "clientno", "clientnumber",
                               "clientcode", "memberid", "memberno", "membernr", "membernumber",
                               "membershipid", "membershipno", "membershipnumber", "userid",
                               "userkey", "usernumber", "uid", "personid", "patronid", "guestid",
                               "profileid", "accountid", "accountno", "accountnumber",
                               "subscriberid", "subscriberkey", "leadid", "crmid", "loyaltyid",
                               "loyaltyno", "loyaltynumber", "buyerid", "shopperid", "id",
                               "externalid", "legacyid", "kundennummer", "kundennr", "kundenid",
                               "kundeid", "kundenr", "mitgliedsnummer", "klantnummer", "klantid",
                               "numeroclient", "numeroadherent", "idclient", "idcliente",
                               "codicecliente", "numerocliente"),
    "email":                  ("email", "mail", "emailaddress", "emailadress", "emailaddr",
                               "emailid", "mailaddress", "mailadresse", "emailadresse",
                               "adresseemail", "adressemail", "primaryemail", "contactemail",
                               "useremail", "customeremail", "personalemail", "workemail",
                               "homeemail", "courriel", "correo", "correoelectronico", "epost",
                               "indirizzoemail"),
    "mobile_number":          ("mobile", "mobileno", "mobilenr", "mobilephone", "mobilephonenumber",
                               "phonemobile", "cell", "cellphone", "cellnumber", "cellular",
                               "msisdn", "gsm", "handy", "handynummer", "mobil", "mobilnummer",
                               "mobiltelefon", "portable", "telephoneportable", "telefonomovil",
                               "movil", "cellulare", "phone", "phoneno", "phonenumber",
                               "telephone", "telephonenumber", "tel", "telefon", "telefonnummer",
                               "telefono", "telefoon", "homephone", "workphone", "phone1",
                               "phone2", "phone3", "smsnumber"),
    "ios_advertising_id":     ("idfa", "iosadid"),
    "ios_idfv":               ("idfv", "vendorid"),
    "android_advertising_id": ("gaid", "aaid", "googleadid", "androidadid"),
    "push_token":             ("devicetoken", "apnstoken", "fcmtoken", "gcmtoken"),
    "facebook":               ("fbid", "facebookuserid"),
    "google":                 ("googleuserid", "googlesub"),
    "twitter":                ("twitterhandle", "twitteruserid"),
}
RESERVED_NAMES: Mapping[str, tuple[str, ...]] = {
    # the reserved attribute  names of columns
    "$FirstName":             ("firstname", "first", "givenname", "forename", "fname", "vorname",
                               "prenom", "nombre", "voornaam", "fornavn", "fornamn", "imie"),
    "$LastName":              ("lastname", "last", "surname", "familyname", "lname", "nachname",
                               "nom", "nomdefamille", "apellido", "apellidos", "achternaam",
                               "cognome", "etternavn", "efternamn", "nazwisko"),
    "$Age":                   ("age",),
    "$Gender":                ("gender", "sex", "geschlecht", "sexe", "sexo", "genre"),
    "$Mobile":                (),
    "$Address":               ("address", "address1", "addressline1", "street", "streetaddress",
                               "mailingaddress", "mailingstreet", "strasse", "adresse", "adres",
                               "direccion", "indirizzo"),
    "$City":                  ("city", "town", "mailingcity", "ort", "stadt", "wohnort", "ville",
                               "ciudad", "citta", "plaats"),
    "$State":                 ("state", "province", "mailingstate", "bundesland", "provincia"),
    "$Zip":                   ("zip", "zipcode", "postcode", "postalcode", "mailingpostalcode",
                               "mailingzip", "plz", "postleitzahl", "codepostal", "codigopostal",
                               "cap"),
    "$Country":               ("country", "countrycode", "mailingcountry", "land", "pays", "pais",
                               "paese"),
}
NEXT: Mapping[str, Sequence[str]] = {
    # the identity type       the types to take where another column is of this one already
    "customer_id":            ("other", "other_id_2", "other_id_3", "other_id_4", "other_id_5"),
    "mobile_number":          ("phone_number_2", "phone_number_3"),
}
LOOKS = (
    # what a text looks like  its pattern
    ("e-mail",                re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")),
    ("GUID",                  re.compile(GUID, re.IGNORECASE)),
    ("date",                  re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.+Z-]+)?"
                                         r"|[0-9]{1,2}([./-])[0-9]{1,2}\2[0-9]{4}")),
    ("phone",                 re.compile(r"(?=(?:[^0-9]*[0-9]){8,15}[^0-9]*$)"
                                         r"(?:\+[0-9 ()./-]+|\(?0[0-9 ()./-]+"
                                         r"|\(?[0-9]{2,5}\)?[ ./-]+[0-9][0-9 ./-]+)")),
    ("number",                re.compile(r"[+-]?[0-9]+([.,][0-9]+)*")),
)
BY_VALUES: Mapping[str, str] = {"e-mail": "email", "phone": "mobile_number"}
"""What a text looks like, and the identity type of such texts."""
# fmt: on
PHONES = ("mobile_number", "phone_number_2", "phone_number_3")
MOST_OF = 0.8
"""The share of the values that must look alike."""

_IDENTITY = {name: kind for kind, names in IDENTITY_NAMES.items() for name in names}
_RESERVED = {name: key for key, names in RESERVED_NAMES.items() for name in names}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a column may be."""

    kind: str
    """"identity", or "reserved": an attribute that the platform knows."""
    field: str
    """The identity type, or the reserved key: what --map is to say."""


def looks_like(values: Sequence[str]) -> str:
    """Return what most of some texts look like, one of LOOKS; "" where they do not look alike."""
    if not values:
        return ""
    return next(
        (
            look
            for look, pattern in LOOKS
            if sum(pattern.fullmatch(value) is not None for value in values)
            >= MOST_OF * len(values)
        ),
        "",
    )


def suggestion(name: str, look: str | None, others: Collection[str]) -> Suggestion | None:
    """Return what a column may be, by its name or by what its values look like; None: no idea.

    look: one of LOOKS, "" where the values do not look alike, None where there are none.
    others: the identity types and reserved keys that other columns are, which it cannot be too.
    """
    kind = _type_of(name, look)
    key = _RESERVED.get(_plain(name))
    # The values tell an address of the mail from a street.
    if kind and (key is None or look in BY_VALUES):
        free = next((free for free in (kind, *NEXT.get(kind, ())) if free not in others), None)
        return Suggestion("identity", free) if free else None
    return Suggestion("reserved", key) if key and key not in others else None


def says_something(name: str) -> bool:
    """Return whether a name alone says what its column may be."""
    return suggestion(name, None, ()) is not None


def _type_of(name: str, look: str | None) -> str | None:
    """Return the identity type that a column may be. look: as for suggestion."""
    by_values = BY_VALUES.get(look or "")
    by_name = _IDENTITY.get(_plain(name)) or _type_spelled(name)
    if by_name == "email" and look is not None:
        return by_values  # "mail" may be whether somebody wants any
    if by_name is None or by_values == "email":
        return by_values
    return None if by_name in PHONES and look == "date" else by_name


def _type_spelled(name: str) -> str | None:
    """Return the identity type that a name says once its blanks and dots are others for dashes."""
    kind = type_named(re.sub(r"[^A-Za-z0-9]+", "_", name.rpartition(".")[2]).strip("_"))
    return kind.name if kind else None


def _plain(name: str) -> str:
    """Return a name without accents, case, and all that is neither a letter nor a figure.

    Of a dotted name it is the last member: address.city is a city. An order.id is nobody's id.
    """
    *of, member = name.casefold().split(".")
    bare = unicodedata.normalize("NFKD", member)
    plain = "".join(letter for letter in bare if letter.isalnum())
    return "" if of and plain == "id" else plain
