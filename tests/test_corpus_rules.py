from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.corpus.decontaminate import spans
from regrow.corpus.grams import split_words
from regrow.corpus.rules import broken_rule, drop_lines
from regrow.corpus.settings import RuleSettings
from regrow.corpus.shape import Shape, beyond_ascii

STORY = (
    "The baker of the old town gets up at four in the morning to bake bread for the school.\n"
    "Her brother keeps a boat on the river, and on Sundays they go out to fish with their nets.\n"
    "Nobody knows when the mill was built, but the oldest stones have marks of a Roman mason.\n"
    "In winter the water freezes, so that children can walk from one bank to the other.\n"
)
CHINESE = (
    "这个小镇在河边，已经有三百年的历史了。面包师每天早上四点起床，为学校准备面包。\n"
    "她的哥哥有一条船，星期天他们常常一起去钓鱼。没有人知道磨坊是什么时候建成的。\n"
    "冬天河水会结冰，孩子们可以从一边走到另一边。春天来了以后，花园里开满了花，大家都很高兴。\n"
    "老师说，认真读书的人会看到更远的地方，所以图书馆晚上也开门。\n"
)
JAPANESE = (
    "この町は川のそばにあり、三百年の歴史があります。"
    "パン屋さんは毎朝四時に起きて、学校のパンを焼きます。\n"
    "お兄さんは船を持っていて、日曜日には一緒に釣りに出かけます。"
    "水車がいつ建てられたのか、誰も知りません。\n"
    "冬になると川が凍るので、子どもたちは向こう岸まで歩いて渡れます。"
    "春には庭に花がたくさん咲きます。\n"
)
THAI = (
    "เมืองเล็กแห่งนี้ตั้งอยู่ริมแม่น้ำและมีประวัติยาวนานกว่าสามร้อยปี "
    "คนทำขนมปังตื่นนอนตอนตีสี่ทุกวัน\n"
    "พี่ชายของเธอมีเรือหนึ่งลำ วันอาทิตย์พวกเขาออกไปตกปลาด้วยกัน "
    "ไม่มีใครรู้ว่าโรงสีสร้างขึ้นเมื่อไร\n"
    "ในฤดูหนาวอากาศเย็นสบาย เด็กๆ เดินเล่นริมฝั่งน้ำ "
    "ครูบอกว่าคนที่ตั้งใจอ่านหนังสือจะมองเห็นได้ไกลกว่า\n"
)
KOREAN = (
    "이 작은 마을은 강가에 있으며 삼백 년의 역사를 가지고 "
    "있습니다. 빵집 주인은 매일 새벽 네 시에 일어납니다.\n"
    "그녀의 오빠는 배를 한 척 가지고 있어서 일요일이면 함께 낚시를 "
    "하러 갑니다. 방앗간이 언제 지어졌는지 아무도 모릅니다.\n"
    "겨울에는 강물이 얼어서 아이들이 건너편까지 걸어갈 "
    "수 있습니다. 봄이 오면 정원에 꽃이 가득 핍니다.\n"
    "선생님은 열심히 책을 읽는 사람이 더 멀리 본다고 "
    "말씀하셨고, 그래서 도서관은 밤에도 문을 엽니다.\n"
)


def broken(text: str, *sets: str) -> str:
    return broken_rule(text, "prose", RuleSettings.model_validate({"sets": sets}))


@pytest.mark.parametrize("sets", [("default",), ("gopher",), ("c4",), ("fineweb",)])
@pytest.mark.parametrize("text", [STORY, CHINESE, JAPANESE, THAI, KOREAN])
def test_good_prose_of_every_script_passes_every_set(text: str, sets: tuple[str, ...]) -> None:
    assert broken(text, *sets) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The town is old and has a mill that stands near the river in the wood.", "word count"),
        ("a b c d e f " * 20, "mean word length"),
        (STORY + "# " * 10, "hashes"),
        (STORY.replace(" the ", "... "), "ellipses"),
        ("".join(f"- The number {i} comes with bread to the school\n" for i in range(20)),
         "bullet lines"),
        (STORY + "12.5 " * 20, "words with letters"),
        ("casino loans pills crypto bonus watches and " * 10, "stop words"),
        (STORY + STORY.splitlines()[0] + "\n" + (STORY.splitlines()[1] + "\n") * 2,
         "repeated lines"),
        (STORY + "the mill of " * 20, "top 2-gram"),
        (STORY + "When spring comes again, every garden flowers, said Ann.\n"
         "And when spring comes again, every garden flowers, said Bo.\n"
         "But if spring comes late nobody bakes cakes, said Ann.\n"
         "Now if spring comes late nobody bakes cakes, said Bo.\n", "repeated 5-grams"),
    ],
)  # fmt: skip
def test_gopher_names_the_rule(text: str, reason: str) -> None:
    assert broken(text, "gopher") == f"gopher: {reason}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (STORY + "if (x) { y }", "curly bracket"),
        (STORY + "Lorem ipsum dolor sit amet.", "lorem ipsum"),
        ("Two sentences are too few here.\nThe second is this one here.\nMenu\n", "sentences"),
    ],
)
def test_c4_names_the_rule(text: str, reason: str) -> None:
    assert broken(text, "c4") == f"c4: {reason}"


def test_c4_drops_menus_scripts_and_notices_and_the_others_keep_the_text() -> None:
    page = (
        f"Home | About\n{STORY}Please enable Javascript to see this page here.\n"
        "This site uses cookies to make your visit better.\nToo short.\nRead more...\n"
    )
    assert drop_lines(page, RuleSettings(sets=("c4",))) == STORY.strip()
    assert drop_lines(page, RuleSettings(sets=("gopher", "fineweb"))) == page


def test_c4_bad_words_are_an_option(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("mill\n", encoding="utf-8")
    settings = RuleSettings(sets=("c4",), bad_words=str(path))
    assert broken_rule(STORY, "prose", settings) == "c4: bad word"
    assert broken_rule(STORY.replace("mill", "mills"), "prose", settings) == ""
    path.write_text("mills\n", encoding="utf-8")
    os.utime(path, ns=(1, 1))  # some systems tell times too coarsely for a test
    assert broken_rule(STORY, "prose", settings) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (STORY.replace(".\n", "\n"), "line ends"),
        (STORY + "Yes it was so.\n" * 9, "short lines"),
        (STORY + STORY.splitlines()[0], "characters in repeated lines"),
        ("".join(f"{word * 40}.\n\n" for word in "abcdefgh"), "new lines"),
    ],
)
def test_fineweb_names_the_rule(text: str, reason: str) -> None:
    assert broken(text, "fineweb") == f"fineweb: {reason}"


def test_sets_are_tried_in_order() -> None:
    text = STORY + "Lorem ipsum dolor sit amet.\n" + "# " * 12
    assert broken(text, "c4", "gopher") == "c4: lorem ipsum"
    assert broken(text, "gopher", "c4") == "gopher: hashes"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Example.org uses cookies to improve your visit.\n© 2020. All rights reserved.\nArchive",
         "notices only"),
        ("the of table to the is and row a the in value the with be a to column the for it key "
         "an of the a and from the by index on the at", "scrambled words"),
        ("Dear Sir, I am the manager of a bank. I need your assistance to transfer the sum of "
         "$20 million in confidential funds. You will earn a percentage. Reply urgent!",
         "sales talk"),
    ],
)  # fmt: skip
def test_the_default_set_tells_notices_scrambled_words_and_letters_from_strangers(
    text: str, rule: str
) -> None:
    assert broken(text, "default") == rule


def test_repeated_grams_count_each_character_once() -> None:
    # aa bb cc | aa bb cc dd: of the 2-grams, aa bb and bb cc stood before: 6 of 14 characters.
    assert Shape("aa bb cc aa bb cc dd").repeated_grams(2) == 6 / 14
    assert Shape("aa bb cc dd").repeated_grams(2) == 0.0
    assert Shape("xx yy xx yy xx yy zz").top_gram(2, 0.8)  # 3 * 4 of 14 characters
    assert not Shape("xx yy xx yy xx yy zz").top_gram(2, 0.9)


def test_scripts_without_spaces_are_split_into_characters_wherever_they_stand() -> None:
    assert split_words("The 中文 word, ไทย 한국") == [
        "the", "中", "文", "word", "ไ", "ท", "ย", "한", "국",
    ]  # fmt: skip
    assert Shape("中文很好 two words").count == 2 + 4 / 2


def test_a_hit_in_chinese_is_cut_where_it_stands() -> None:
    from regrow.corpus.decontaminate import Hit

    assert spans("前面 the 猫在家 里", [Hit(0, 0, 3, 6)]) == [(7, 10)]


def test_worked_sums_are_no_signs() -> None:
    steps = (
        "Rosa has 4 plums in a bag and 7 on the table. How many has she in all? 4 + 7 = 11. "
        "Then she gives 3 of them to Tom and buys 20 more in the shop by the river. "
        "11 - 3 = 8. 8 + 20 = 28. If each is 2 coins, the 28 are 28 * 2 = 56 coins."
    )
    sums = " ".join(f"{a} + {b} = {a + b};" for a in range(4, 12) for b in range(3, 9))
    for text in (steps, sums):
        assert broken_rule(text, "prose", RuleSettings()) == ""
    assert broken_rule("<> {} ;; " * 30, "prose", RuleSettings()) == "mostly signs"


def test_chinese_among_many_identifiers_needs_no_english_words() -> None:
    lines = [
        f"alloc{c} 之后 map{c} lock{c} struct{c} offset{c} none{c} entry{c} page{c} 保护 table{c}。"
        for c in "abcdefghijklmnopqrst"
    ]
    text = "\n\n".join(lines)
    latin = " ".join(re.findall(r"[a-z]+", text))
    for chosen, name in (("default", "no frequent words"), ("gopher", "gopher: stop words")):
        settings = RuleSettings(sets=(chosen,))
        assert broken_rule(text, "prose", settings) == ""
        assert broken_rule(latin, "prose", settings) == name


@given(
    st.text(
        alphabet=st.sampled_from("ab Z1.\n\t\x00\x85éß’…漢かไລ한ру\ufffd\ue000\ud800𝒜١"),
        max_size=80,
    )
)
def test_short_cuts_beyond_ascii_see_what_the_patterns_would(text: str) -> None:
    shape = Shape(text)
    assert beyond_ascii(text) == "".join(c for c in text if ord(c) > 127)
    letters = re.findall(r"[^\W\d_]", text)
    latin = sum(c.isascii() for c in letters)
    assert shape.latin == (text.isascii() or 2 * latin > len(letters))
    odd = re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]", text)
    if shape.count >= 1:  # one sign of Japanese counts as less than a word
        found = broken_rule(text, "prose", RuleSettings(min_characters=0))
        assert (found == "odd characters") == (len(odd) > 0.02 * len(text))
