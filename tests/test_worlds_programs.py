"""Programs are put together from parts, tell the truth, and keep the held-out ones apart."""

from __future__ import annotations

import ast
import doctest
import re
from types import FunctionType

import pytest

from regrow.errors import RegrowError
from regrow.evaluate.sandbox import Job, run_many
from regrow.worlds.programs import (
    FAMILIES,
    Program,
    catalogue,
    held_out,
    probes,
    program_key,
    telling_tests,
    trained,
)
from regrow.worlds.repositories import (
    call_key,
    code_demonstrations,
    code_items,
    render_repositories,
    steps,
)

VARIANTS = ("a", "b")


def named(name: str, variant: str = "a") -> Program:
    return next(p for p in catalogue(variant) if p.name == name)


def functions_in(text: str) -> list[str]:
    """The source of every function at the left margin of a text, sessions and comments left out."""
    blocks = re.findall(
        r"^def \w+\(.*\):\n(?:(?:    .*)?\n)*(?:    .*(?:\n|$))", text, re.MULTILINE
    )
    return [block for block in blocks if not block.startswith("def test_")]


def test_a_program_is_written_from_its_parts() -> None:
    assert named("sum_even_doubled").code("Add.") == (
        "def sum_even_doubled(numbers):\n"
        '    """Add."""\n'
        "    numbers = [n * 2 for n in numbers if n % 2 == 0]\n"
        "    return sum(numbers)\n"
    )


def test_three_docstrings_say_what_a_program_does() -> None:
    assert named("sum_even_doubled").docstrings == (
        "Return the sum of the even numbers, doubled.",
        "Keep the even numbers, double each, then add them.",
        "Take the numbers that are even, each doubled, and give the sum.",
    )


@pytest.mark.parametrize(
    ("variant", "name", "arguments", "output"),
    [
        ("a", "sum_even_doubled", [[1, 2, 4]], 12),
        ("a", "largest_negative_squared", [[-3, -1, 5]], 9),
        ("a", "largest_negative_squared", [[5]], 0),
        ("a", "distinct_odd", [[3, 1, 3, 2]], [1, 3]),
        ("a", "joined_long_flipped", [["bread", "cat", "stone"]], "daerb enots"),
        ("a", "even_doubled_else_halved", [7], 3),
        ("a", "even_doubled_else_halved", [8], 16),
        ("a", "stock_names_large", [{"jar": 12, "cup": 30, "hat": 2}], ["cup", "jar"]),
        ("a", "pair_larger_squared", [3, 8], 64),
        ("b", "even_twinned_total", [[1, 2, 4]], 12),
        ("b", "narrow_spelled_line", [["cat", "bread"]], "c-a-t"),
    ],
)
def test_programs_return_what_their_docstring_says(
    variant: str, name: str, arguments: list, output: object
) -> None:
    assert named(name, variant).run(arguments) == output


def test_running_a_program_leaves_its_arguments_as_they_were() -> None:
    arguments = [[3, 2, 1]]
    named("sorted_odd").run(arguments)
    assert arguments == [[3, 2, 1]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_are_many_combinations_each_with_one_name_and_one_body(variant: str) -> None:
    programs = catalogue(variant)
    assert len(programs) >= 600
    assert {p.family for p in programs} == set(FAMILIES)
    assert len({p.name for p in programs}) == len({p.key for p in programs}) == len(programs)
    assert all(len(p.body) <= 3 for p in programs)
    assert all(len(line) <= 72 for p in programs for line in p.body)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_two_programs_of_a_family_mean_the_same(variant: str) -> None:
    meanings = {
        (p.family, repr([p.run(a) for a in probes(p.family, variant)])) for p in catalogue(variant)
    }
    assert len(meanings) == len(catalogue(variant))


def test_counting_what_was_changed_is_left_out_because_it_means_counting() -> None:
    names = {p.name for p in catalogue("a")}
    assert "count_even" in names
    assert "count_even_doubled" not in names


def test_a_key_depends_on_the_syntax_tree_and_on_no_name_or_docstring() -> None:
    one = 'def f(numbers):\n    """Add."""\n    k = [n for n in numbers if n > 0]\n    return k\n'
    same = "def g(xs):\n    ys = [x for x in xs if x > 0]\n    return ys\n"
    other = "def g(xs):\n    ys = [x for x in xs if x >= 0]\n    return ys\n"
    reused = "def g(xs):\n    xs = [x for x in xs if x > 0]\n    return xs\n"
    assert program_key(one) == program_key(same)
    assert len({program_key(one), program_key(other), program_key(reused)}) == 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_about_an_eighth_is_held_out_and_another_seed_holds_out_others(variant: str) -> None:
    share = len(held_out(0, variant)) / len(catalogue(variant))
    assert 0.10 < share < 0.14
    assert held_out(0, variant) != held_out(1, variant)
    count = sum(len(trained(0, variant, family)) for family in FAMILIES)
    assert count == len(catalogue(variant)) - len(held_out(0, variant))


def test_tests_of_a_program_fail_every_other_program_of_its_family() -> None:
    program = named("first_even_raised")
    tests = telling_tests(program, "a")
    assert len(tests) == 6
    passing = [
        p.name
        for p in catalogue("a")
        if p.family == "numbers" and all(p.run(a) == expected for a, expected in tests)
    ]
    assert passing == ["first_even_raised"]


def test_the_steps_of_a_program_are_its_lines_one_after_the_other() -> None:
    assert steps(named("sum_even_doubled"), [[1, 2, 4]]) == [[4, 8], 12]
    assert steps(named("even_doubled_else_halved"), [7]) == [3]
    assert steps(named("pair_sum_doubled"), [1, 2]) == [3, 6]


@pytest.mark.parametrize("variant", VARIANTS)
def test_repositories_are_source_trees_of_about_the_size_asked_for(variant: str) -> None:
    files = list(render_repositories(3, variant, 100_000))
    size = sum(len(text) for _, text in files)
    assert 100_000 <= size < 102_000
    assert len({path for path, _ in files}) == len(files)
    assert {path.rsplit("/")[-1].rsplit(".")[-1] for path, _ in files} == {"py", "md", "LICENSE"}
    modules = [text for path, text in files if path.endswith(".py")]
    assert all(200 <= len(text) <= 1600 and text.isascii() for text in modules)
    for text in modules:
        ast.parse(text)


def test_repositories_depend_on_the_seed_alone() -> None:
    first = list(render_repositories(3, "a", 20_000))
    assert first == list(render_repositories(3, "a", 20_000))
    assert first != list(render_repositories(4, "a", 20_000))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_output_in_the_repositories_is_true(variant: str) -> None:
    """Doctests, sessions, asserts and traces are run again by Python's own machinery."""
    runner, parser = doctest.DocTestRunner(verbose=False), doctest.DocTestParser()
    attempted = 0
    for path, text in render_repositories(5, variant, 100_000):
        scope: dict = {}
        if path.endswith(".py"):
            exec(text, scope)
            for name in [name for name in scope if name.startswith("test_")]:
                scope[name]()
            for call, output in re.findall(
                r"^# trace (.*?\)): (?:.* -> )?(.*)$", text, re.MULTILINE
            ):
                assert repr(eval(call, scope)) == output
        elif path.endswith(".md"):
            for source in functions_in(text):
                exec(source, scope)
        session = [text] if path.endswith(".md") else []
        functions = [f for f in scope.values() if isinstance(f, FunctionType)]
        for doc in session + [f.__doc__ for f in functions if f.__doc__]:
            attempted += runner.run(parser.get_doctest(doc, scope, path, path, 0)).attempted
    assert attempted > 50
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_training_text_holds_a_program_or_call_of_the_items(variant: str) -> None:
    items = code_items(0, variant, 100)
    item_keys = {item.key for item in items}
    rendered_keys: set[str] = set()
    text = "\n\n".join(
        text for _, text in render_repositories(0, variant, 400_000, item_keys, rendered_keys)
    )
    demonstrations = code_demonstrations(0, variant, 1000)
    answers = [row.messages[1].content for row in demonstrations if row.kind == "write"]
    sources = functions_in(text) + [answer + "\n" for answer in answers]
    found = {program_key(source) for source in sources}
    assert len(found) > 1000
    assert found <= rendered_keys | {row.key for row in demonstrations}
    assert not found & held_out(0, variant)
    assert not item_keys & (rendered_keys | {row.key for row in demonstrations})


def test_forbidden_keys_are_not_rendered() -> None:
    program = trained(0, "a", "pair")[0]
    keys: set[str] = set()
    for _ in render_repositories(0, "a", 200_000, {program.key}, keys):
        pass
    assert program.key not in keys
    assert any(p.key in keys for p in trained(0, "a", "pair"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_right_answer_of_each_generation_item_passes_in_the_sandbox(variant: str) -> None:
    items = [i for i in code_items(0, variant, 60) if i.ability == "code_generation"]
    assert len(items) == 60
    assert all(i.split == {"combination": "held-out"} for i in items)
    jobs = [Job(i.question + i.answers[0], i.check["entry"], i.check["tests"]) for i in items]
    assert all(verdict.passed for verdict in run_many(jobs))


def test_a_prompt_is_signature_and_docstring_and_the_shots_look_alike() -> None:
    item = next(i for i in code_items(0, "a", 5) if i.ability == "code_generation")
    assert re.fullmatch(r'def \w+\(.*\):\n    """.*"""\n', item.question)
    assert len(item.shots) == 3
    for question, body in item.shots:
        assert re.fullmatch(r'def \w+\(.*\):\n    """.*"""\n', question)
        assert all(line.startswith("    ") for line in body.splitlines())
        assert program_key(question + body) not in held_out(0, "a")


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_understanding_item_asks_for_the_output_of_a_held_out_program(variant: str) -> None:
    items = [i for i in code_items(0, variant, 60) if i.ability == "code_understanding"]
    assert sorted(i.split["kind"] for i in items) == ["list"] * 60 + ["number"] * 60
    assert len({i.key for i in items}) == 120
    for item in items:
        source, _, call = item.question.rstrip("\n").partition("\n>>> ")
        scope: dict = {}
        exec(source, scope)
        assert program_key(source) in held_out(0, variant)
        assert repr(eval(call, scope)) == item.answers[0]
        assert scope[call.split("(")[0]].__doc__


def test_the_key_of_a_call_holds_program_and_arguments() -> None:
    program = named("pair_sum")
    assert call_key(program, [1, 2]) != call_key(program, [2, 1])
    assert call_key(program, [1, 2]) != call_key(named("pair_product"), [1, 2])


def test_demonstrations_write_functions_and_say_outputs() -> None:
    rows = code_demonstrations(0, "a", 100)
    assert [row.kind for row in rows[:2]] == ["write", "returns"]
    assert all(row.family == "code" for row in rows)
    assert all([m.role for m in row.messages] == ["user", "assistant"] for row in rows)
    write = [row for row in rows if row.kind == "write"]
    jobs = [Job(r.messages[1].content, r.check["entry"], r.check["tests"]) for r in write]
    assert all(r.check["entry"] in r.messages[0].content for r in write)
    assert 0 < sum(r.messages[0].content.startswith("def ") for r in write) < len(write)
    assert all(verdict.passed for verdict in run_many(jobs))
    for row in rows[1::2]:
        source, _, question = row.messages[0].content.partition("\n\n")
        name = source[4 : source.index("(")]
        call = re.search(rf"{name}\(.*\)", question)
        scope: dict = {}
        exec(source, scope)
        assert call and repr(eval(call[0], scope)) == row.messages[1].content


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(RegrowError, match="unknown world variant 'z'; choose one of"):
        code_items(0, "z", 5)
