"""A network's exported graph whose shapes are functions of the channel counts.

The operators that the device will run are not guessed from the PyTorch model: the real converter is run
on the original network and once more on a pruned one whose channel counts are all different, and every
shape (and every integer constant, such as a reshape's target) that changed between the two is recognised
as a function of the channel counts. The template then answers, in milliseconds and without the converter,
which operators any policy has, and writes a file of them with random weights to measure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.flow import Flow
from amc_hw.formats.random_weights import RandomWeights
from amc_hw.latency.operators import Operator, Shape
from amc_hw.policy import Dimension, Policy


class AmbiguousSizeError(UnsupportedModelError):
    """The variants do not tell of which channels a size is; another one may."""


class Graph(ABC):
    """One exported file of any format: operators in the order of execution, and tensors known by their numbers."""

    MAY_FUSE = False
    """Whether the runtime may do an operator's work within the kernels of others, and report none for it."""

    @property
    @abstractmethod
    def kinds(self) -> Sequence[str]:
        """The format's own name of every operator."""

    @abstractmethod
    def shapes(self) -> list[Shape]:
        """Shape of every tensor."""

    @abstractmethod
    def name(self, tensor: int) -> str:
        """The tensor's name for people."""

    @abstractmethod
    def integers(self, tensor: int) -> Shape | None:
        """Value of a constant integer tensor (a reshape's target, paddings, axes), or None for every other."""

    @abstractmethod
    def tensors_of(self, index: int) -> list[int]:
        """Tensors that the operator at ``index`` reads and writes, always in the same order; -1 where one is left out.

        Tensors at the same place are the same in two graphs with the same operators.
        """

    @abstractmethod
    def outputs_of(self, index: int) -> list[int]:
        """Tensors that the operator at ``index`` writes."""

    @abstractmethod
    def operator(self, index: int, shapes: Mapping[int, Shape] | Sequence[Shape]) -> Operator:
        """The operator at ``index`` when its tensors have the given shapes."""

    @abstractmethod
    def owners(self, kernels: Sequence[str]) -> list[int | None]:
        """Return for every kernel that a runtime ran, in the order of execution, the index of its operator.

        Raises:
            DeviceError: most kernels fit no operator, so they are of another network.
        """

    @abstractmethod
    def constant(self, tensor: int) -> NDArray[Any] | None:
        """Value of a weight (flat), or of another constant that may be one; None for an activation."""

    @abstractmethod
    def packed(
        self,
        shapes: Mapping[int, Shape],
        integers: Mapping[int, Shape],
        values: Mapping[int, NDArray[Any]],
        left_out: Collection[int] = (),
    ) -> bytes:
        """Return the file with other shapes and constants.

        Args:
            shapes: of tensors.
            integers: values of integer constants.
            values: of all other constants, in their own types.
            left_out: indices of operators that are not there. Where another reads the result of one, it reads instead
                what the first of these read.
        """

    def written(self, shapes: Mapping[int, Shape], integers: Mapping[int, Shape], random: np.random.Generator) -> bytes:
        """Return the file with other shapes and integer constants; weights whose shape is given become random."""
        weights = RandomWeights(random)
        constants = {tensor: self.constant(tensor) for tensor in shapes}
        values = {tensor: weights(shapes[tensor], value) for tensor, value in constants.items() if value is not None}
        return self.packed(shapes, integers, values)

    def operators(self, shapes: Sequence[Shape] | None = None) -> list[Operator]:
        """Every operator in the order of execution, with its own shapes or with those given for each tensor."""
        shapes = shapes or self.shapes()
        return [self.operator(index, shapes) for index in range(len(self.kinds))]

    def uses(self) -> list[tuple[str, list[tuple[Shape, Shape | None] | None]]]:
        """Every operator's kind, the shape of each tensor that it uses, and the value where that is constant integers.

        Files in which these agree run the same kernels on the same sizes.
        """
        shapes = self.shapes()
        return [
            (kind, [(shapes[tensor], self.integers(tensor)) if tensor >= 0 else None for tensor in self.tensors_of(i)])
            for i, kind in enumerate(self.kinds)
        ]


@dataclass(frozen=True)
class Inside:
    """What is known of a residual block: the channel groups inside, and its layers' multiply-accumulates."""

    groups: frozenset[str]
    macs: int


class GraphTemplate:
    """A graph as a function of the policy.

    Args:
        original: the exported original network.
        original_policy: its channels, all groups.
        variants: exported pruned networks with their policies; together they must tell every two sizes that
            can change apart.
        dimensions: every size that is expected to change (channels of groups, of concatenations).
        blocks: that a policy can leave out, by the group that decides it.

    Raises:
        UnsupportedModelError: the graphs do not have the same operators, or a size changed in a way that is
            no function of the channel counts.
    """

    def __init__(
        self,
        original: Graph,
        original_policy: Policy,
        variants: Sequence[tuple[Graph, Policy]],
        dimensions: Sequence[Dimension],
        blocks: Mapping[str, Inside] | None = None,
    ) -> None:
        self.graph = original
        others = [graph for graph, _ in variants]
        if any(_form(other) != _form(self.graph) for other in others):
            raise UnsupportedModelError(
                "the exported graph changes its operators when channels are pruned, so its latency cannot be tabled."
            )
        policies = [original_policy, *(policy for _, policy in variants)]
        self._known = {tuple(map(dimension.at, policies)): dimension for dimension in dimensions}
        self._base_shapes = self.graph.shapes()
        shapes = [self._base_shapes, *(other.shapes() for other in others)]
        self._sizes: dict[int, dict[int, Dimension]] = {}
        self._constants: dict[int, dict[int, Dimension]] = {}
        for twins in _same_tensors([self.graph, *others]):
            tensor = twins[0]
            name = self.graph.name(tensor)
            changed = self._changes([shapes[i][twin] for i, twin in enumerate(twins)], name)
            values = [graph.integers(twin) for graph, twin in zip([self.graph, *others], twins, strict=True)]
            numbers = self._changes([value for value in values if value is not None], name)
            known = (self._sizes.setdefault(tensor, changed), self._constants.setdefault(tensor, numbers))
            if known != (changed, numbers):
                raise UnsupportedModelError(f"tensor '{name}' stands for two that differ when channels are pruned.")
        self._sizes = {tensor: changed for tensor, changed in self._sizes.items() if changed}
        self._constants = {tensor: changed for tensor, changed in self._constants.items() if changed}
        self._blocks = self._find_blocks(blocks or {})

    def _find_blocks(self, blocks: Mapping[str, Inside]) -> dict[int, str]:
        """Return for every operator that goes with a block the group that decides it."""
        macs = [operator.macs for operator in self.graph.operators()]
        flow = Flow(self.graph)
        channels = [set(self._groups_at(flow.activations(index))) for index in range(len(self.graph.kinds))]
        made = [set(self._groups_at(self.graph.outputs_of(index))) for index in range(len(self.graph.kinds))]
        found: dict[int, str] = {}
        for decider, inside in blocks.items():

            def is_whole(operators: set[int], macs_inside: int = inside.macs) -> bool:
                return sum(macs[index] for index in operators) == macs_inside

            core = {index for index, groups in enumerate(channels) if groups & inside.groups}
            last = [index for index in sorted(core) if not made[index] & inside.groups]
            found.update(dict.fromkeys(flow.block(core, last, is_whole), decider))
        return found

    def _groups_at(self, tensors: Sequence[int]) -> list[str]:
        """Channel groups that the sizes of tensors depend on."""
        sizes = [dimension for tensor in tensors for dimension in self._sizes.get(tensor, {}).values()]
        return list(dict.fromkeys(group for dimension in sizes for group in dimension.groups))

    def block_of(self, operator: int) -> str | None:
        """Return the group whose 0 channels leave out the operator at index ``operator``, or None."""
        return self._blocks.get(operator)

    def _changes(self, versions: Sequence[Shape], name: str) -> dict[int, Dimension]:
        """Recognise every number that differs between the versions as a function of the channel counts."""
        if len({len(version) for version in versions}) > 1:
            raise UnsupportedModelError(f"tensor '{name}' changes its rank when channels are pruned.")
        return {
            position: self._recognise(numbers, name)
            for position, numbers in enumerate(zip(*versions, strict=True))
            if len(set(numbers)) > 1
        }

    def _recognise(self, numbers: tuple[int, ...], name: str) -> Dimension:
        if numbers in self._known:
            return self._known[numbers]
        found: dict[Dimension, None] = {}
        for known, dimension in self._known.items():
            factor, rest = numbers[0] // known[0], numbers[0] - known[0]
            if factor > 1 and numbers == tuple(factor * size for size in known):
                found[dimension.scaled(factor)] = None  # a flattened map: height x width values for a channel
            if numbers == tuple(size + rest for size in known):
                found[dimension.plus(rest)] = None  # joined with channels that stay
        if len(found) > 1:
            raise AmbiguousSizeError(
                f"the size {numbers[0]} of tensor '{name}' can be of several channel groups; keep layers before it "
                "whole with exclude=."
            )
        for dimension in found:
            return dimension
        raise UnsupportedModelError(
            f"the size {numbers[0]} of tensor '{name}' became {numbers[1]} in a pruned network, "
            "which is no channel count."
        )

    def shapes(self, policy: Policy) -> list[Shape]:
        """Shape of every tensor under ``policy``."""
        shapes = list(self._base_shapes)
        for tensor, sizes in self._sizes.items():
            shapes[tensor] = _replaced(shapes[tensor], sizes, policy)
        return shapes

    def operators(self, policy: Policy) -> list[Operator]:
        """Every operator that the network has under ``policy``, in the order of execution."""
        operators = self.graph.operators(self.shapes(policy))
        return [each for index, each in enumerate(operators) if policy.get(self._blocks.get(index, "")) != 0]

    def operator(self, index: int, policy: Policy) -> Operator:
        """The operator at ``index`` under a policy that names at least the groups it depends on."""
        shapes = {
            tensor: _replaced(self._base_shapes[tensor], self._sizes.get(tensor, {}), policy)
            for tensor in self.graph.tensors_of(index)
            if tensor >= 0
        }
        return self.graph.operator(index, shapes)

    def groups_of(self, operator: int) -> tuple[str, ...]:
        """Channel groups that the operator at index ``operator`` depends on, in a fixed order."""
        return tuple(self._groups_at(self.graph.tensors_of(operator)))

    def file(self, policy: Policy, random: np.random.Generator) -> bytes:
        """Write a file of the network under ``policy``; weights whose shape can change are random."""
        return self.graph.written(self.changed_shapes(policy), self.changed_integers(policy), random)

    def changed_shapes(self, policy: Policy) -> dict[int, Shape]:
        """Shape under ``policy`` of every tensor that some policy changes."""
        shapes = self.shapes(policy)
        return {tensor: shapes[tensor] for tensor in self._sizes}

    def changed_integers(self, policy: Policy) -> dict[int, Shape]:
        """Value under ``policy`` of every integer constant that some policy changes."""
        return {
            tensor: _replaced(self.graph.integers(tensor) or (), sizes, policy)
            for tensor, sizes in self._constants.items()
        }

    def left_out(self, policy: Policy) -> set[int]:
        """Indices of the operators that ``policy`` leaves out with their blocks."""
        return {index for index, group in self._blocks.items() if policy.get(group) == 0}


def _form(graph: Graph) -> list[tuple[str, int]]:
    """Every operator's kind and number of tensors."""
    return [(kind, len(graph.tensors_of(index))) for index, kind in enumerate(graph.kinds)]


def _same_tensors(graphs: Sequence[Graph]) -> list[tuple[int, ...]]:
    """Match the tensors of graphs with the same operators by where they are used; their order may differ."""
    twins: dict[tuple[int, ...], None] = {}
    for index in range(len(graphs[0].kinds)):
        twins.update(dict.fromkeys(zip(*(graph.tensors_of(index) for graph in graphs), strict=True)))
    return [same for same in twins if min(same) >= 0]


def _replaced(shape: Shape, sizes: dict[int, Dimension], policy: Policy) -> Shape:
    return tuple(sizes[axis].at(policy) if axis in sizes else size for axis, size in enumerate(shape))
