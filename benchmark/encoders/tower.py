"""The one transformer loop: a tower described as data, run with any library's own modules as the parts.

White-box explainers need attention weights, per-head values, gradients in the middle of a block, or a changed step.
``Tower.step`` gives all of one block, explicitly and in the graph; ``Tower.run`` goes through many, with fused attention
where nobody looks. ``Trace`` captures or replaces any named site during a ``with`` block.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.types import Side

Layer = Callable[[Tensor], Tensor]
Pooling = Literal["class_token", "text_token", "attention", "mean"]
Part = Literal["input", "query", "key", "value", "attention", "heads", "output"]


class Site(NamedTuple):
    """A named place in a tower; ``layer`` counts blocks from 0, and ``"pool"`` is the attention pooling head.

    Parts of a block: its ``input`` (batch position dim), ``query``, ``key``, ``value`` (batch position dim, heads
    concatenated), ``attention`` after the softmax (batch head query key), ``heads``, the concatenated head outputs before
    the output projection (batch query dim), and ``output`` (batch position dim).
    """

    side: Side
    layer: int | Literal["pool"]
    part: Part


@dataclass(frozen=True, kw_only=True)
class Block:
    """One transformer block.

    ``before`` is applied to its input ahead of the attention (identity in a post-norm block); ``join(input, attended)``
    adds the residuals and runs the MLP, where ``attended`` has been through ``out``.
    """

    heads: int
    before: Layer
    query: Layer
    key: Layer
    value: Layer
    out: Layer
    join: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class AttentionPool:
    """A pooling head in which one learned query attends to all tokens; ``after`` runs its residual MLP."""

    heads: int
    query: Callable[[], Float[Tensor, " dim"]]
    key: Layer
    value: Layer
    out: Layer
    after: Layer


@dataclass(frozen=True, kw_only=True)
class State:
    """Hidden states on their way through a tower, with what the attention and the pooling need to know."""

    hidden: Float[Tensor, "batch position dim"]
    keep: Bool[Tensor, "#batch position"] | None = None
    read: Int[Tensor, " #batch"] | None = None

    def at(self, hidden: Tensor) -> "State":
        """Return the same state with other hidden states; a single row of masks serves any batch."""
        return replace(self, hidden=hidden)


@dataclass(frozen=True, slots=True)
class Step:
    """Everything inside one block or attention pool, by the part names of ``Site``."""

    input: Float[Tensor, "batch position dim"]
    query: Float[Tensor, "batch query dim"]
    key: Float[Tensor, "batch position dim"]
    value: Float[Tensor, "batch position dim"]
    attention: Float[Tensor, "batch head query position"]
    heads: Float[Tensor, "batch query dim"]
    output: Float[Tensor, "batch query dim"]


@dataclass
class Costs:
    """What has been computed: inputs run forward through a tower (a part of the blocks counts as that part), and back."""

    image_forwards: float = 0.0
    text_forwards: float = 0.0
    backwards: float = 0.0

    def __sub__(self, other: "Costs") -> "Costs":
        return Costs(
            self.image_forwards - other.image_forwards,
            self.text_forwards - other.text_forwards,
            self.backwards - other.backwards,
        )

    def copy(self) -> "Costs":
        return replace(self)

    def add(self, side: Side, forwards: float, output: Tensor) -> None:
        """Count forwards of one side now, and as many backwards each time a gradient reaches ``output``."""
        if side == "image":
            self.image_forwards += forwards
        else:
            self.text_forwards += forwards
        if output.requires_grad:

            def count(_: Tensor) -> None:
                self.backwards += forwards

            output.register_hook(count)


class Trace:
    """Sites to capture and to replace while a ``with`` block runs; ``captured`` fills as the tower runs."""

    def __init__(self, sites: tuple[Site, ...], changes: Mapping[Site, Layer]) -> None:
        self.sites = frozenset(sites)
        self.changes = dict(changes)
        self.captured: dict[Site, Tensor] = {}

    @property
    def reading(self) -> frozenset[Site]:
        """Every site that is captured or changed."""
        return self.sites | self.changes.keys()

    def pass_through(self, site: Site, tensor: Tensor) -> Tensor:
        if site in self.changes:
            tensor = self.changes[site](tensor)
        if site in self.sites:
            if torch.is_grad_enabled() and not tensor.requires_grad and not tensor.is_inference():
                tensor = tensor.detach().requires_grad_()  # frozen weights: what follows is still a function of the site
            self.captured[site] = tensor
        return tensor


@dataclass(kw_only=True)
class Tower:
    """A transformer tower as data.

    ``embed`` maps the library's token embeddings (patches before positions, or token embeddings before positions) to the
    first block's input; ``positions`` says which of them each row holds when some are left out. ``norm`` is the final
    norm, applied to every token; pooling reads one token, the mean of the patches, or an ``AttentionPool``; ``project``
    maps into the shared space. ``norm_after_pool`` matters for mean pooling alone.
    """

    side: Side
    blocks: tuple[Block, ...]
    embed: Callable[[Tensor, Tensor | None], Tensor]
    norm: Layer
    project: Layer
    pooling: Pooling
    causal: bool = False
    prefix: int = 0
    attention_pool: AttentionPool | None = None
    norm_after_pool: bool = False
    costs: Costs = field(default_factory=Costs)
    traces: list[Trace] = field(default_factory=list[Trace])

    @property
    def depth(self) -> int:
        return len(self.blocks)

    # -- running ------------------------------------------------------------------------------------------------------

    def run(self, state: State, start: int = 0, stop: int | None = None) -> State:
        """Run blocks ``start`` to ``stop`` (exclusive; all by default) on the input of block ``start``."""
        stop = self.depth if stop is None else stop
        if not 0 <= start <= stop <= self.depth:
            raise InvalidInput(f"the {self.side} tower has blocks 0 to {self.depth - 1}; cannot run {start} to {stop - 1}")
        mask = self._mask(state)
        hidden = state.hidden
        for layer in range(start, stop):
            hidden = self._block(layer, hidden, mask)
        return state.at(hidden)

    def step(self, state: State, layer: int, heads: int | None = None) -> Step:
        """Run one block on its input with every part explicit and in the graph; ``heads`` overrides their number."""
        if not 0 <= layer < self.depth:
            raise InvalidInput(f"the {self.side} tower has blocks 0 to {self.depth - 1}; there is no block {layer}")
        return self._explicit(layer, state.hidden, self._mask(state), heads)

    def finish(self, state: State) -> Float[Tensor, "batch dim"]:
        """Norm, pool and project the last block's output; the embedding is not yet of unit length."""
        if self.pooling == "attention":
            return self.project(self.pool_step(state).output[:, 0])
        if self.pooling == "mean":
            return self.project(self._mean(state))
        return self.project(self.norm(self.pooled_token(state)))

    def encode(self, state: State) -> Float[Tensor, "batch dim"]:
        """Run all blocks and finish. Untraced, the last block is computed for the pooled token alone."""
        if self._one_token_suffices:
            before = self.run(state, stop=self.depth - 1)
            pooled = self._last_block_of_pooled(before)
            return self.project(self.norm(pooled))
        return self.finish(self.run(state))

    def pooled_token(self, state: State) -> Float[Tensor, "batch dim"]:
        """Return the hidden state that the pooling reads: class token, or the text's reading position."""
        if self.pooling == "class_token":
            return state.hidden[:, 0]
        if self.pooling == "text_token" and state.read is not None:
            rows = torch.arange(state.hidden.shape[0], device=state.hidden.device)
            return state.hidden[rows, state.read.expand(state.hidden.shape[0])]
        raise UnsupportedEncoder(f"this {self.side} tower pools by {self.pooling}; no single token is read")

    def tokens(self, state: State) -> Float[Tensor, "batch position dim"]:
        """Return every token in the shared space, not normalised: what pooling would give if it read that token alone."""
        normed = self.norm(state.hidden)
        if self.attention_pool is not None:
            head = self.attention_pool
            return self.project(head.after(head.out(head.value(normed))))
        return self.project(normed)

    def pool_step(self, state: State) -> Step:
        """Run the attention pool on the last block's output with every part explicit; ``output`` is (batch, 1, dim)."""
        head = self.attention_pool
        if head is None:
            raise UnsupportedEncoder(f"this {self.side} tower pools by {self.pooling}; it has no attention pool")
        normed = self._tap("pool", "input", self.norm(state.hidden))
        batch = normed.shape[0]
        query = self._tap("pool", "query", head.query().to(normed.dtype).expand(batch, 1, -1))
        key = self._tap("pool", "key", head.key(normed))
        value = self._tap("pool", "value", head.value(normed))
        keep = state.keep[:, None, None, :] if state.keep is not None else None
        attention, mixed = _attend(query, key, value, head.heads, keep, lambda a: self._tap("pool", "attention", a))
        mixed = self._tap("pool", "heads", mixed)
        output = self._tap("pool", "output", head.after(head.out(mixed)))
        return Step(normed, query, key, value, attention, mixed, output)

    # -- tracing ------------------------------------------------------------------------------------------------------

    def check(self, site: Site) -> None:
        """Raise unless ``site`` names a place in this tower."""
        if site.side != self.side or site.part not in get_args(Part):
            raise InvalidInput(f"{site} names no place in the {self.side} tower; parts are {', '.join(get_args(Part))}")
        if site.layer == "pool":
            if self.attention_pool is None:
                raise UnsupportedEncoder(f"{site} needs attention pooling; this {self.side} tower pools by {self.pooling}")
        elif site.layer not in range(self.depth):
            raise InvalidInput(f"{site}: the {self.side} tower has blocks 0 to {self.depth - 1}")

    def _tap(self, layer: int | Literal["pool"], part: Part, tensor: Tensor) -> Tensor:
        for trace in self.traces:
            tensor = trace.pass_through(Site(self.side, layer, part), tensor)
        return tensor

    def _watched(self, layer: int) -> bool:
        site = Site(self.side, layer, "attention")
        return any(site in trace.reading for trace in self.traces)

    # -- one block ----------------------------------------------------------------------------------------------------

    def _mask(self, state: State) -> Tensor | None:
        """Return which keys each query may read, (batch or 1, 1, query or 1, key), or ``None`` for all."""
        mask = state.keep[:, None, None, :] if state.keep is not None else None
        if self.causal:
            length = state.hidden.shape[1]
            causal = torch.ones(length, length, dtype=torch.bool, device=state.hidden.device).tril()
            mask = causal[None, None] if mask is None else mask & causal
        return mask

    def _parts(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        block = self.blocks[layer]
        hidden = self._tap(layer, "input", hidden)
        ready = block.before(hidden)
        query = self._tap(layer, "query", block.query(ready))
        key = self._tap(layer, "key", block.key(ready))
        return hidden, query, key, self._tap(layer, "value", block.value(ready))

    def _block(self, layer: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self._watched(layer):
            return self._explicit(layer, hidden, mask, None).output
        block = self.blocks[layer]
        hidden, query, key, value = self._parts(layer, hidden)
        mixed = self._tap(layer, "heads", _fused(query, key, value, block.heads, mask))
        return self._tap(layer, "output", self._counted(block.join(hidden, block.out(mixed))))

    def _explicit(self, layer: int, hidden: Tensor, mask: Tensor | None, heads: int | None) -> Step:
        block = self.blocks[layer]
        hidden, query, key, value = self._parts(layer, hidden)
        attention, mixed = _attend(query, key, value, heads or block.heads, mask, lambda a: self._tap(layer, "attention", a))
        mixed = self._tap(layer, "heads", mixed)
        output = self._tap(layer, "output", self._counted(block.join(hidden, block.out(mixed))))
        return Step(hidden, query, key, value, attention, mixed, output)

    @property
    def _one_token_suffices(self) -> bool:
        return self.pooling in ("class_token", "text_token") and not self.traces

    def _last_block_of_pooled(self, state: State) -> Float[Tensor, "batch dim"]:
        block = self.blocks[-1]
        batch = state.hidden.shape[0]
        ready = block.before(state.hidden)
        pooled = self.pooled_token(state)[:, None]
        query = block.query(self.pooled_token(state.at(ready))[:, None])
        mask = self._mask(state)
        if mask is not None and mask.shape[2] > 1 and state.read is not None:
            rows = torch.arange(batch, device=mask.device)
            mask = mask.expand(batch, -1, -1, -1)[rows, :, state.read.expand(batch)][:, :, None]
        mixed = _fused(query, block.key(ready), block.value(ready), block.heads, mask)
        return self._counted(block.join(pooled, block.out(mixed)))[:, 0]

    def _mean(self, state: State) -> Float[Tensor, "batch dim"]:
        hidden = state.hidden if self.norm_after_pool else self.norm(state.hidden)
        patches = hidden[:, self.prefix :]
        if state.keep is None:
            pooled = patches.sum(dim=1) / max(patches.shape[1], 1)  # of no patch at all: zeros
        else:
            weight = state.keep[:, self.prefix :, None].to(patches.dtype)
            pooled = (patches * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        return self.norm(pooled) if self.norm_after_pool else pooled

    def _counted(self, output: Tensor) -> Tensor:
        """Count one block run on a batch, and one run backward whenever a gradient passes through its output."""
        self.costs.add(self.side, len(output) / self.depth, output)
        return output


def _split(tensor: Tensor, heads: int) -> Tensor:
    batch, length, dim = tensor.shape
    if dim % heads:
        raise InvalidInput(f"{dim} channels cannot be split into {heads} heads")
    return tensor.view(batch, length, heads, dim // heads).transpose(1, 2)


def _fused(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    mixed = F.scaled_dot_product_attention(_split(query, heads), _split(key, heads), _split(value, heads), attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None, tap: Layer
) -> tuple[Float[Tensor, "batch head query key"], Float[Tensor, "batch query dim"]]:
    """Attend with explicit weights; a query that may read nothing gets zeros."""
    split_query, split_key, split_value = (_split(tensor, heads) for tensor in (query, key, value))
    scores = split_query @ split_key.transpose(-1, -2) * split_query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
        attention = scores.softmax(dim=-1).masked_fill(~mask, 0.0)
    else:
        attention = scores.softmax(dim=-1)
    attention = tap(attention)
    return attention, (attention @ split_value).transpose(1, 2).flatten(2)
