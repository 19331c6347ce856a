"""Games of several pairs in shared passes: a game of fifty coalitions fills no GPU, sixteen of them do."""

from collections.abc import Sequence
from itertools import batched
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool

from benchmark.encoders.precision import computing
from benchmark.encoders.tower import State
from benchmark.games.removal import Masked, unit
from benchmark.games.similarity import Cache, is_out_of_memory, keys_of

if TYPE_CHECKING:
    from benchmark.games.similarity import SimilarityGame

type Wanted = tuple[Cache, Masked, list[bytes], Bool[np.ndarray, "_ _"]]


def encode_together(games: "Sequence[SimilarityGame]", coalitions: Sequence[Bool[np.ndarray, "_ _"]]) -> None:
    """Encode each game's joint coalitions in batches that they share; the games then answer for them without a pass.

    Embeddings are those of a game alone, up to rounding. What cannot share passes is left for its game to encode: operators
    that are not one pass through a tower, games of one encoder in different number formats, and batches too large for
    the memory.
    """
    images = [joint[:, : game.n_patches] for game, joint in zip(games, coalitions, strict=True)]
    texts = [joint[:, game.n_patches :] for game, joint in zip(games, coalitions, strict=True)]
    _fill([game.images for game in games], images)
    _fill([game.texts for game in games], texts)


def _fill(caches: Sequence[Cache], coalitions: Sequence[Bool[np.ndarray, "_ _"]]) -> None:
    alike: dict[tuple[object, ...], list[Wanted]] = {}
    for cache, asked in zip(caches, coalitions, strict=True):
        new = cache.missing(keys_of(asked))
        if isinstance(cache.embed, Masked) and new:
            rows = asked[list(new.values())]
            with torch.no_grad(), computing(cache.precision, cache.device):
                shape = cache.embed.states(torch.from_numpy(rows[:1])).hidden.shape[1:]
            alike.setdefault((id(cache.embed.tower), cache.precision, *shape), []).append((cache, cache.embed, list(new), rows))
    for members in alike.values():
        if len(members) > 1:
            _encode(members)


@torch.no_grad()
def _encode(members: Sequence[Wanted]) -> None:
    """Encode what games of one tower and one length want, and hand each its part."""
    first, masked = members[0][:2]
    places = [(i, row) for i, (_, _, _, rows) in enumerate(members) for row in range(len(rows))]
    parts: list[torch.Tensor] = []
    try:
        with computing(first.precision, first.device):
            for batch in batched(places, first.batch_size):
                states: list[State] = []
                for i in dict.fromkeys(i for i, _ in batch):
                    wanted = torch.from_numpy(members[i][3][[row for at, row in batch if at == i]])
                    states.append(members[i][1].states(wanted.pin_memory() if first.device.type == "cuda" else wanted))
                parts.append(unit(masked.tower.encode(_joined(states))).float())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return
    embeddings, start = torch.cat(parts).cpu().numpy(), 0
    for cache, _, keys, rows in members:
        cache.keep(keys, embeddings[start : start + len(rows)])
        start += len(rows)


def _joined(states: Sequence[State]) -> State:
    """Return the rows of several states of one length as one."""
    keep = [state.keep.expand(len(state.hidden), -1) for state in states if state.keep is not None]
    read = [state.read.expand(len(state.hidden)) for state in states if state.read is not None]
    return State(
        hidden=torch.cat([state.hidden for state in states]),
        keep=torch.cat(keep) if keep else None,
        read=torch.cat(read) if read else None,
    )
