"""Sentence templates of the captions, by domain. A template's marks:

`{slot}` is filled, `(a|b|c)` is one of a, b, c, `[…]` is left out when a slot in it is empty. Slots:
`who` (young woman), `outfit` (all the clothes, in some order), `upper lower feet neck head` (a garment each),
`rest` (clothes besides upper and lower), `hair`, `face` (glasses, beard), `bag` (a red backpack), `carrying`
(carrying a red backpack), `withbag` (with a red backpack on her back), `held` (looking at a phone), `going`
(walking away from the camera), `goes` (walks away from the camera), `build` (slim), `passes`, `passing`
(crosses the square, crossing the square: what place and gait suggest), `he his him`.
A capital in a slot's name asks for a capital; `a_who` has the article.
"""

from __future__ import annotations

PLAZA = (
    "{A_who}[ {going}] (wearing|in|dressed in) {outfit}[, {withbag}].",
    "The {who} (wears|has on|is wearing) {outfit}[, and has {hair}][, {carrying}].",
    "{A_who} with {hair} (wearing|in) {outfit}[, {withbag}][, {held}].",
    "{A_who} is {going}. {He} (wears|has on) {outfit}[ and is {carrying}].",
    "[{Carrying}, ]{the_who} is (dressed in|wearing) {outfit}[. {He} has {hair}].",
    "{Upper} and {lower}[, {rest}]: that is what {the_who}[ {withbag}] is wearing.",
    "There is {a_who}[ with {hair}] (wearing|in) {upper}[ and {lower}][. On {his} feet are {feet}].",
    "{He} is {a_who}[ with {hair}] who (wears|is wearing) {outfit}[. {He} is {carrying}].",
    "{A_who} in {upper}[ and {lower}] {passes}[, {withbag}][, {held}].",
    "In {upper}[, {lower}][ and {rest}], {a_who}[ {withbag}] {passes}.",
    "{A_who}[ {withbag}] (dressed|clad) in {lower} and {upper}[, with {hair}].",
    "{The_who}[, {going},] (sports|has) {upper} (paired with|together with|over) {lower}[ and {feet}].",
    "(Look for|I saw|I noticed) {a_who} in {outfit}[, {withbag}].",
    "{The_who} {goes}[ {withbag}], wearing {outfit}.",
    "{A_who}[, {face},] (wearing|in) {outfit}[, {carrying}].",
)
PLAZA_HELD_OUT = (
    "Wearing {lower} below {upper}, {a_who}[ {withbag}] was out in the sun[, {held}].",
    "What stands out about {the_who} is {upper}[ and then {lower}][; {he} is {carrying}].",
    "{Hair}, {upper}[, {lower}][, {feet}]: {a_who}[ {going}].",
    "It is {a_who}, and {he} has chosen {outfit} for the day[, {withbag}].",
    "{Feet} on {his} feet and {upper} on top, {the_who} {goes}[, {withbag}].",
)
STATION = (
    "{A_who}[ of {build} build][ with {hair}][, {face},] is {going}. {He} is wearing {upper}"
    "[ together with {lower}][, and {rest}]. [{He} is {carrying}.]",
    "{The_who}[, {build} and {going},] wears {outfit}. [As to the hair: {hair}. ][{He} is {carrying}.]",
    "(Description of the passenger|Passenger description): {a_who}[ with {hair}], dressed in {outfit}"
    "[; {he} is {carrying}][ and {held}].",
    "{The_who} (seen on the platform|seen in the concourse|on the platform|near the ticket gates) has {upper}"
    "[ and {lower}][, as well as {rest}]. [{He} also has {hair}. ][{He} is {carrying}.]",
    "This is {a_who}[ {withbag}]. The upper body is covered by {upper}[, the legs by {lower}]"
    "[; on the feet are {feet}].[ {He} has {hair}.][ Around the neck is {neck}.]",
    "{A_who}[ {withbag}] is {going}[, {held}]. {His} clothing consists of {outfit}.[ {He} has {hair}.]",
    "Dressed in {outfit}, {a_who}[ with {hair}] is {going}[. {He} is {carrying}].",
    "The camera shows {a_who}[ with {hair}][, {face}]. {He} wears {upper}[ above {lower}][, with {rest}]"
    "[. {He} is {carrying}].",
    "{The_who} is {going}[ and {carrying}]. {He} has on {outfit}[, and {his} hair is {hairis}].",
    "{A_who}, [{build}, ][with {hair}, ]who has {upper} on[ and {lower} underneath]"
    "[. {His} feet are in {feet}][. On {his} head is {head}][. {He} is {carrying}].",
    "[{Carrying}, ]{a_who} {goes}. {He} is dressed in {outfit}[ and has {hair}][, {face}].",
)
STATION_HELD_OUT = (
    "Staff are asked to look out for {a_who}[ of {build} build] last seen {going}; clothing: {outfit}"
    "[; luggage: {bag}][; hair: {hairis}].",
    "From the feet up, {the_who} wears [{feet}, ][{lower} and ]{upper}[, and finally {head}]. "
    "[{He} is {carrying}.]",
    "[{Bag} belongs to {the_who}. ]{He} is {a_who} and was wearing {outfit} while {going}"
    "[; {he} had {hair}].",
    "Reported at the counter: {a_who}[, {hair}], {upper}[, {lower}][, {rest}][, {carrying}].",
)
CAMPUS = (
    "{who} in {outfit}[, {withbag}]",
    "{A_who} {going}, {upper}[, {lower}][, {feet}][ and {bag}]",
    "(some|a certain) {who} with {hair}, (wearing|in) {outfit}",
    "{A_who} {going}[ {withbag}], got {upper} on[ with {lower}].",
    "{A_who} (rocking|sporting|in|wearing) {upper}[ and {lower}][, {withbag}][, {face}].",
    "{who} with {hair}[ and {face}], {upper}[, {lower}][, {carrying}]",
    "That {who} over there in {outfit}[, {carrying}].",
    "{The_who}'s outfit: {outfit}[, plus {bag}].",
    "{A_who}[ {withbag}], {hair}, {upper}[ over {lower}].",
    "{He} has {hair} and wears {upper}[ with {lower}][ and {feet}][; {carrying}].",
    "{upper}[ + {lower}][ + {feet}], {a_who}[ {going}][, {withbag}]",
    "{A_who} {passing} in {outfit}[, {withbag}].",
    "[{Hair}. ]{A_who} in {upper}[ and {lower}][, {carrying}][, {held}].",
    "{The_who} {goes} in {outfit}[, {withbag}].",
)
CAMPUS_HELD_OUT = (
    "{lower}[, {feet}] and on top {upper}: {who}[ {withbag}]",
    "Have you seen {a_who}[ with {hair}] in {outfit}? [{He} was {carrying}.]",
    "spotted: {who}, {upper}[, {lower}][, {bag}][, {hair}]",
    "My friend is {the_who} {going}, you know {him} by {upper}[ and {lower}][ or by {bag}].",
    "{The_who} with {bag}? [{He} has {hair}, and ]{he} wears {outfit}.",
)
GENERIC = (
    "(a photo of|a picture of|an image of|a rendering of) {a_who} (wearing|in) {outfit}[, {withbag}]",
    "(a photo of|a picture of) {a_who}[ with {hair}], {upper}[ and {lower}][, {carrying}]",
    "{upper}[ and {lower}] on {a_who}[, {withbag}]",
    "this {who} (has|wears) {outfit}[; {he} has {hair}][; {he} is {carrying}]",
    "one {who}[, {hair}][, {face}], {upper}[, {lower}][, {feet}][, {bag}]",
    "{a_who} {going} (shown|pictured) in {outfit}",
    "(shown|pictured|visible) here: {a_who} {withbag}, wearing {upper}[ and {lower}]",
    "the {who} pictured wears {upper}[, below it {lower}][, on the feet {feet}]",
    "{a_who} has {hair} and {outfit}",
    "full view of {a_who}[ {going}], clothes: {outfit}[, bag: {bag}]",
    "{lower} with {upper}, worn by {a_who}[, {held}]",
    "{a_who}, {carrying}, {upper}[, {lower}]",
    "{bag}, {upper}[, {lower}], {a_who}",
    "{a_who} {goes}[, {face}], and wears {outfit}",
)
GRAMMARS: dict[str, tuple[str, ...]] = {
    "plaza": PLAZA,
    "station": STATION,
    "campus": CAMPUS,
    "generic": GENERIC,
}
HELD_OUT_GRAMMARS: dict[str, tuple[str, ...]] = {
    "plaza": PLAZA_HELD_OUT,
    "station": STATION_HELD_OUT,
    "campus": CAMPUS_HELD_OUT,
    "generic": (),
}
