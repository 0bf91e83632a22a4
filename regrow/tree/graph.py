"""The shape of a tree: order, ancestors, descendants, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from regrow.errors import RegrowError, nearest

#: Each node's parent; None for a root. The order of declaration breaks ties.
Parents = Mapping[str, str | None]


def order(parents: Parents) -> list[str]:
    """Nodes with every parent before its children, otherwise as declared.

    Raises RegrowError for a missing parent or a cycle, naming it.
    """
    for name, parent in parents.items():
        if parent is not None and parent not in parents:
            raise RegrowError(
                f"node {name!r} grows from {parent!r}, which is not declared"
                + nearest(parent, parents)
            )
    placed: dict[str, None] = {}
    for name in parents:
        for step in reversed(lineage(parents, name)):
            placed.setdefault(step)
    return list(placed)


def lineage(parents: Parents, name: str) -> list[str]:
    """The node, its parent, and so on up to the root. Raises RegrowError on a cycle."""
    path = [name]
    while (parent := parents[path[-1]]) is not None:
        if parent in path:
            circle = " <- ".join([*path[path.index(parent) :], parent])
            raise RegrowError(f"these nodes grow from each other: {circle}; change one parent")
        path.append(parent)
    return path


def descendants(parents: Parents, name: str) -> list[str]:
    """The nodes that grow from `name`, at any distance, parents first."""
    return [other for other in order(parents) if name in lineage(parents, other)[1:]]


def known(parents: Parents, name: str) -> str:
    """The name itself, if the tree has it. Raises RegrowError with the nearest otherwise."""
    if name not in parents:
        raise RegrowError(f"there is no node {name!r}{nearest(name, parents)}")
    return name


def select(parents: Parents, to: Iterable[str] = (), start: Iterable[str] = ()) -> list[str]:
    """Nodes at or below any of `start` and at or above any of `to`; all where neither is given."""
    to, start = [known(parents, n) for n in to], [known(parents, n) for n in start]
    above = {step for name in to for step in lineage(parents, name)} if to else set(parents)
    below = {name for name in parents if not start or set(start) & set(lineage(parents, name))}
    chosen = [name for name in order(parents) if name in above and name in below]
    if not chosen:
        raise RegrowError(f"no node lies between {', '.join(start)} and {', '.join(to)}")
    return chosen
