"""What a GraphQL document would cost at most, found before anything runs.

A list costs as many of its items as its `first` allows, given or by default; a list inside a page (`nodes` of
`materials(first: 10)`) those of the page. Run after validation, which refuses cycles of fragments and deep questions
about the schema itself; every fragment is weighed once for each length of page, however often it is spread.
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
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NullValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    value_from_ast_untyped,
)
from graphql.execution.execute import get_field_def

from api.graphql.lists import MOST_ENTRIES

MAX_TOKENS = 2_000
MAX_DEPTH = 12
MAX_COST = 60_000
SHORT = 5
"""Items of a list that nature bounds: the phases of a decomposition, the elements of a compound."""
UNKNOWN = MOST_ENTRIES

Weight = tuple[int, int]
"""Values that the answer may hold, and how deep it nests."""


class _Scale:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, given: Mapping[str, Any]) -> None:
        definitions = document.definitions
        self.schema = schema
        self.fragments = {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)}
        self.given = given
        self.weighed: dict[tuple[str, int], Weight] = {}

    def weigh(self, selections: SelectionSetNode | None, parent: Any, page: int = SHORT) -> Weight:
        """page: the length of lists right here that have no `first` of their own."""
        parts = [self._part(one, parent, page) for one in selections.selections] if selections else []
        return reduce(lambda one, other: (one[0] + other[0], max(one[1], other[1])), parts, (0, 0))

    def _part(self, node: object, parent: Any, page: int) -> Weight:
        if isinstance(node, FieldNode):
            field = get_field_def(self.schema, parent, node)
            return self._field(node, field, page)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value, page)
        assert isinstance(node, InlineFragmentNode)
        return self.weigh(node.selection_set, self._named(node.type_condition) or parent, page)

    def _field(self, node: FieldNode, field: GraphQLField, page: int) -> Weight:
        first = self._first(node, field.args["first"]) if "first" in field.args else None
        lists = _lists(field.type)
        length = (first or page) * SHORT ** (lists - 1) if lists else 1
        inner_page = first or SHORT if not lists else SHORT
        item, depth = self.weigh(node.selection_set, get_named_type(field.type), inner_page)
        return 1 + length * (item if node.selection_set else min(lists, 1)), depth + 1

    def _fragment(self, name: str, page: int) -> Weight:
        if (name, page) not in self.weighed:
            fragment = self.fragments[name]
            self.weighed[name, page] = self.weigh(fragment.selection_set, self._named(fragment.type_condition), page)
        return self.weighed[name, page]

    def _named(self, condition: Any) -> Any:
        return self.schema.get_type(condition.name.value) if condition else None

    def _first(self, node: FieldNode, argument: GraphQLArgument) -> int:
        """What is asked for; null and nothing mean the default."""
        written = next((one.value for one in node.arguments if one.name.value == "first"), None)
        value = self._value(written)
        if value is None:
            return int(argument.default_value)
        return max(1, value) if isinstance(value, int) else UNKNOWN

    def _value(self, written: ValueNode | None) -> Any:
        if isinstance(written, VariableNode):
            return self.given.get(written.name.value)
        if written is None or isinstance(written, NullValueNode):
            return None
        return int(written.value) if isinstance(written, IntValueNode) else UNKNOWN


def too_much(schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> GraphQLError | None:
    """Why a valid document is refused, if it is."""
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    for operation in operations:
        if operation.operation is not OperationType.QUERY:  # whose fields no validation knows
            return GraphQLError(f"there is no {operation.operation.value} here: only queries are answered")
        scale = _Scale(schema, document, {**_defaults(operation), **variables})
        cost, depth = scale.weigh(operation.selection_set, schema.query_type)
        if depth > MAX_DEPTH and not _introspects(operation):
            return GraphQLError(f"the query nests {depth} deep; at most {MAX_DEPTH} is answered")
        if cost > MAX_COST:
            message = (
                f"the answer could hold {cost:,} values, at most {MAX_COST:,}: ask for fewer fields or a smaller page"
            )
            return GraphQLError(message)
    return None


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    """The values of variables that the request leaves out."""
    defaults = [(one.variable.name.value, one.default_value) for one in operation.variable_definitions]
    return {name: value_from_ast_untyped(value) for name, value in defaults if value is not None}


def _lists(kind: GraphQLOutputType) -> int:
    """How many lists are in one another: 2 for the vectors of a lattice."""
    if isinstance(kind, GraphQLNonNull):
        return _lists(kind.of_type)
    return 1 + _lists(kind.of_type) if isinstance(kind, GraphQLList) else 0


def _introspects(operation: OperationDefinitionNode) -> bool:
    """Whether all that is asked for is the schema itself, which nests deeper than any answer."""
    fields = operation.selection_set.selections
    return all(isinstance(one, FieldNode) and one.name.value.startswith("__") for one in fields)
