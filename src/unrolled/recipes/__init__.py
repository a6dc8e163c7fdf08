"""The published experiments, each with its published protocol, on the public interface alone."""

import dataclasses
from collections.abc import Iterator, Sequence

from unrolled.errors import MissingDataError, OptionError, TrainingError
from unrolled.recipes.experiment import Plot, Recipe, Row

__all__ = ["choose", "recipes", "reproduce"]


def recipes() -> tuple[Recipe, ...]:
    """All of them, in the order of the mission."""
    from unrolled.recipes import chicago, generated, images, peers, reviews, sines

    return (
        Recipe("E1", "generated sines, the next value", sines.sines),
        Recipe("E2", "t·sin(t)/3 + 2·sin(5t), and on alone", generated.generated),
        Recipe("E3", "MNIST by rows", images.rows_of_images),
        Recipe("E4", "MNIST by rows: deep, LSTM, GRU", images.gated),
        Recipe("E5a", "Chicago: naive and linear", chicago.conventional),
        Recipe("E5b", "Chicago: one recurrent layer", chicago.recurrent),
        Recipe("E5b-seconds", "Chicago: one seed in Keras", peers.peers),
        Recipe("E5c", "Chicago: three", chicago.deep),
        Recipe("E5d", "Chicago: five inputs", chicago.multivariate),
        Recipe("E5e", "Chicago: 14 days to a vector", chicago.to_vector),
        Recipe("E5f", "Chicago: 14 days at each step", chicago.to_sequence),
        Recipe("E5g", "Chicago: long sequences", chicago.long_sequences),
        Recipe("E5h", "Chicago: SARIMA", chicago.sarima),
        Recipe("E6", "film reviews", reviews.reviews),
    )


def choose(names: Sequence[str]) -> list[Recipe]:
    """The recipes of some names, "E5" for all that begin so; all of them for none.

    Raises:
        OptionError: there is none of a name.

    >>> [recipe.name for recipe in choose(["e5b", "E1"])]
    ['E1', 'E5b']
    """
    known = recipes()
    for name in names:
        if not any(_is(recipe, name) for recipe in known):
            listed = ", ".join(recipe.name for recipe in known)
            raise OptionError("reproduce", f"names among {listed} (E5 for all of E5a to E5h)", repr(name))
    return [recipe for recipe in known if not names or any(_is(recipe, name) for name in names)]


def _is(recipe: Recipe, name: str) -> bool:
    own, name = recipe.name.lower(), name.lower()
    return own == name or (name == "e5" and own.startswith(name))


def reproduce(chosen: Sequence[Recipe], seeds: int = 5, quick: bool = False) -> Iterator[Row | Plot]:
    """Run recipes, and yield what they give as it comes; where data cannot be had or no seed learns, a row says so.

    Args:
        chosen: as `choose` returns them.
        seeds: trained together, from 0 on.
        quick: fewer epochs, and without what takes minutes.
    """
    for recipe in chosen:
        try:
            for found in recipe.run(seeds, quick):
                if quick and isinstance(found, Row) and found.seconds:
                    yield dataclasses.replace(found, whole=False)
                else:
                    yield found
        except (MissingDataError, TrainingError) as error:
            yield Row(recipe.name, recipe.title, "", None, (), note=str(error))
