"""What a generator's arguments may be."""

from typing import Any

from unrolled.errors import OptionError
from unrolled.nn.validation import is_count, is_number
from unrolled.training.options import Training

__all__ = ["check_generator"]

CHOICES = (
    ("cell", ("rnn", "lstm", "gru")),
    ("activation", ("tanh", "relu", "linear", "sigmoid")),
    ("kind", ("auto", "values", "symbols")),
    ("device", ("auto", "cpu", "cuda")),
)


def check_generator(generator: Any) -> None:
    """Raise an `OptionError` for an argument that is out of its range."""
    where = type(generator).__name__
    for name, among in CHOICES:
        if getattr(generator, name) not in among:
            raise OptionError(where, f"{name} one of {', '.join(among)}", repr(getattr(generator, name)))
    for name in ("units", "layers", "embedding_size", "kernel_size", "steps", "stride", "members", "epochs"):
        value = getattr(generator, name)
        if not (value is None and name in ("embedding_size", "stride", "epochs")) and not is_count(value, 1):
            raise OptionError(where, f"{name} of at least 1", repr(value))
    if not is_count(generator.context_hidden, 0):
        raise OptionError(where, "context_hidden of at least 0", repr(generator.context_hidden))
    if not is_count(generator.seed, 0):
        raise OptionError(where, "a seed of at least 0", repr(generator.seed))
    for name in ("ends", "differences"):
        if not isinstance(getattr(generator, name), bool | None):
            raise OptionError(where, f"{name} True, False or None", repr(getattr(generator, name)))
    filters = generator.filters
    if not isinstance(filters, list | tuple) or not all(is_count(size, 1) for size in filters):
        raise OptionError(
            where, "filters: a list of whole numbers of at least 1", repr(filters), "Pass [32, 48]."
        )
    for name in ("dropout", "recurrent_dropout", "valid_size"):
        value = getattr(generator, name)
        if not is_number(value) or not 0 <= value < 1:
            raise OptionError(where, f"a {name} in [0, 1)", repr(value))
    if generator.training is not None and not isinstance(generator.training, Training):
        raise OptionError(where, "training of unrolled.Training", repr(generator.training))
    if generator.training is not None and generator.epochs is not None:
        raise OptionError(where, "epochs, or training with its own", "both", "Leave epochs out.")
    if generator.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise OptionError(where, "a CUDA device", "none", "Pass device='cpu'.")
