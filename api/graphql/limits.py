"""What a GraphQL document would cost, found before anything runs.

Run after validation, which refuses cycles of fragments; every fragment is weighed once, however often it is spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

MAX_TOKENS = 2_000
MAX_DEPTH = 12
MAX_COST = 60_000
PAGE = 50
LIST = 5
LISTS = {
    "calculations", "predictions", "selections", "hullHistory", "displacedBy", "parents", "children", "duplicates",
    "externalIds", "rounds", "campaigns", "models", "decomposition", "funnel",
}  # fmt: skip
"""Lists whose length nobody gives; `entries` of a hull cost a page."""

Weight = tuple[int, int]
"""Fields that the answer may hold, and how deep it nests."""


class _Scale:
    def __init__(self, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        definitions = document.definitions
        self.fragments = {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)}
        self.variables = variables
        self.weighed: dict[str, Weight] = {}

    def weigh(self, selections: SelectionSetNode | None) -> Weight:
        parts = [self._part(one) for one in selections.selections] if selections else []
        return reduce(lambda one, other: (one[0] + other[0], max(one[1], other[1])), parts, (0, 0))

    def _part(self, node: object) -> Weight:
        if isinstance(node, FieldNode):
            cost, depth = self.weigh(node.selection_set)
            return 1 + self._length(node) * cost, depth + 1
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value)
        assert isinstance(node, InlineFragmentNode)
        return self.weigh(node.selection_set)

    def _fragment(self, name: str) -> Weight:
        if name not in self.weighed:
            self.weighed[name] = self.weigh(self.fragments[name].selection_set)
        return self.weighed[name]

    def _length(self, node: FieldNode) -> int:
        if node.name.value == "materials":
            return max(1, self._first(node))
        return PAGE if node.name.value == "entries" else LIST if node.name.value in LISTS else 1

    def _first(self, node: FieldNode) -> int:
        for argument in node.arguments:
            if argument.name.value == "first":
                value = argument.value
                given = self.variables.get(value.name.value) if isinstance(value, VariableNode) else None
                given = int(value.value) if isinstance(value, IntValueNode) else given
                return given if isinstance(given, int) else PAGE
        return PAGE


def too_much(document: DocumentNode, variables: Mapping[str, Any]) -> GraphQLError | None:
    """Why a valid document is refused, if it is."""
    if _introspects(document):
        return None
    scale = _Scale(document, variables)
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    for operation in operations:
        cost, depth = scale.weigh(operation.selection_set)
        if depth > MAX_DEPTH:
            return GraphQLError(f"the query nests {depth} deep; at most {MAX_DEPTH} is answered")
        if cost > MAX_COST:
            message = (
                f"the answer could hold {cost:,} values, at most {MAX_COST:,}: ask for fewer fields or a smaller page"
            )
            return GraphQLError(message)
    return None


def _introspects(document: DocumentNode) -> bool:
    """Whether all that is asked for is the schema itself: small, though deep."""
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    fields = [field for one in operations for field in one.selection_set.selections]
    return bool(fields) and all(isinstance(one, FieldNode) and one.name.value.startswith("__") for one in fields)
