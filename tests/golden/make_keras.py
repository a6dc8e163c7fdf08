"""Write what Keras computes, for `tests/nn/test_against_keras.py`: random weights, no two sizes alike.

    pip install keras tensorflow-cpu
    KERAS_BACKEND=tensorflow python tests/golden/make_keras.py

On TensorFlow the outputs before the first valid step are zeros (on JAX they are the initial state).
"""

import json
from itertools import product
from pathlib import Path

import keras
import numpy as np
import tensorflow

BATCH, TIME, FEATURES, UNITS = 3, 7, 5, 4
LAYERS = {"simple_rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
MASKS = {
    "full": [[1, 1, 1, 1, 1, 1, 1]] * 3,
    "right": [[1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]],
    "left": [[0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1]],
    "holes": [[1, 0, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 1, 1, 1]],
    "nothing": [[0, 0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]],
}

keras.config.set_floatx("float64")
random = np.random.default_rng(2026)


class LayerNormSimpleRNNCell(keras.layers.Layer):
    """A simple cell whose summed pre-activation is normalised (Géron, chapter 15)."""

    def __init__(self, units):
        super().__init__()
        self.state_size = self.output_size = units
        self.cell = keras.layers.SimpleRNNCell(units, activation=None)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5)

    def call(self, inputs, states):
        outputs, _ = self.cell(inputs, states)
        h = keras.ops.tanh(self.norm(outputs))
        return h, [h]


def randomise(layer, x):
    layer(x)
    layer.set_weights([random.normal(0, 0.6, w.shape) for w in layer.get_weights()])


def arrays(result):
    return [np.asarray(r) for r in (result if isinstance(result, list | tuple) else [result])]


class File:
    """The cases of one .npz file."""

    def __init__(self, name):
        self.name, self.cases, self.arrays = name, [], {}

    def add(self, label, layer, x, described, state=(), mask=None, calls=1):
        randomise(layer, x)
        if getattr(layer, "stateful", False):
            layer.reset_state()
        keywords = {}
        if state:
            keywords["initial_state"] = [keras.ops.convert_to_tensor(s) for s in state]
        if mask is not None:
            keywords["mask"] = keras.ops.convert_to_tensor(np.array(mask, bool))
        for _ in range(calls):
            outputs = arrays(layer(x, **keywords))
        prefix = f"{len(self.cases)}/"
        self.arrays |= {f"{prefix}w{i}": w for i, w in enumerate(layer.get_weights())}
        self.arrays |= {f"{prefix}state{i}": s for i, s in enumerate(state)}
        self.arrays |= {f"{prefix}y{i}": y for i, y in enumerate(outputs)}
        self.arrays[prefix + "x"] = x
        if mask is not None:
            self.arrays[prefix + "mask"] = np.array(mask, bool)
        self.cases.append({"label": label, "calls": calls, **described})

    def write(self):
        versions = {
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "tensorflow": tensorflow.__version__,
            "numpy": np.__version__,
        }
        text = json.dumps({"versions": versions, "cases": self.cases})
        path = Path(__file__).parent / f"keras_{self.name}.npz"
        np.savez_compressed(path, description=np.array(text), **self.arrays)
        print(path.name, len(self.cases), "cases", path.stat().st_size // 1024, "KiB", versions)


def sequences():
    return random.normal(size=(BATCH, TIME, FEATURES))


def states(kind):
    return [random.normal(size=(BATCH, UNITS)) for _ in range(2 if kind == "lstm" else 1)]


def keras_only(kind):
    """Take the plain loop, not cuDNN's."""
    return {} if kind == "simple_rnn" else {"use_cudnn": False}


def recurrent(kind, variants):
    file = File(kind)
    for variant in variants:

        def add(label, options, variant=variant, **more):
            options = {**variant, **options}
            layer = LAYERS[kind](UNITS, **options, **keras_only(kind))
            label = " ".join([label, *(f"{k}={v}" for k, v in options.items())])
            file.add(label, layer, sequences(), {"kind": kind, "options": options}, **more)

        for names in [(), ("return_sequences",), ("return_state",), ("return_sequences", "return_state")]:
            for backwards in (False, True):
                options = dict.fromkeys(names, True) | ({"go_backwards": True} if backwards else {})
                add("plain", options)
                add("state", options, state=states(kind))
        add("no bias", {"use_bias": False, "return_sequences": True})
        add("stateful", {"stateful": True, "return_state": True, "return_sequences": True}, calls=2)
        for (name, mask), backwards, given in product(MASKS.items(), (False, True), (False, True)):
            options = {"return_sequences": True, "return_state": True}
            if backwards:
                options["go_backwards"] = True
            add(f"mask {name}", options, mask=mask, state=states(kind) if given else ())
        add("mask last", {}, mask=MASKS["left"])
        add("mask last", {"return_state": True}, mask=MASKS["holes"], state=states(kind))
        for activation in ("relu", "sigmoid", "linear"):
            add("activation", {"activation": activation, "return_sequences": True})
    file.write()


def bidirectional():
    file = File("bidirectional")
    for kind, merge in product(LAYERS, ("concat", "sum", "mul", "ave", None)):
        for label, options, with_state, mask in [
            ("last", {}, False, None),
            ("sequences", {"return_sequences": True}, False, None),
            ("all", {"return_sequences": True, "return_state": True}, True, None),
            ("masked", {"return_sequences": True, "return_state": True}, False, MASKS["right"]),
            ("masked", {"return_state": True}, True, MASKS["holes"]),
        ]:
            layer = keras.layers.Bidirectional(
                LAYERS[kind](UNITS, **options, **keras_only(kind)), merge_mode=merge
            )
            file.add(
                f"{kind} {merge} {label} {options}",
                layer,
                sequences(),
                {"kind": kind, "options": options, "merge_mode": merge},
                state=states(kind) + states(kind) if with_state else (),
                mask=mask,
            )
    file.write()


def others():
    file = File("others")
    for activation in (None, "relu", "tanh", "sigmoid"):
        file.add(
            f"dense {activation}",
            keras.layers.Dense(UNITS, activation=activation),
            sequences(),
            {"kind": "Dense", "arguments": [FEATURES, UNITS], "options": {"activation": activation}},
        )
    for padding, strides, dilation in [
        *product(("valid", "same", "causal"), (1, 2), (1,)),
        *product(("valid", "same", "causal"), (1,), (2, 3)),
    ]:
        options = {"strides": strides, "padding": padding, "dilation_rate": dilation, "activation": "relu"}
        for size in (2, 3):
            x = random.normal(size=(BATCH, 8, FEATURES))
            file.add(
                f"conv {size} {options}",
                keras.layers.Conv1D(UNITS, size, **options),
                x,
                {"kind": "Conv1D", "arguments": [FEATURES, UNITS, size], "options": options},
            )
    for name in ("MaxPooling1D", "AveragePooling1D"):
        for size, strides, padding in product((2, 3), (None, 1, 2), ("valid", "same")):
            options = {"strides": strides, "padding": padding}
            layer = getattr(keras.layers, name)(size, **options)
            described = {"kind": name, "arguments": [size], "options": options}
            file.add(f"{name} {size} {options}", layer, sequences(), described)
    for name in ("GlobalMaxPooling1D", "GlobalAveragePooling1D"):
        layer = getattr(keras.layers, name)()
        file.add(name, layer, sequences(), {"kind": name, "arguments": [], "options": {}})
    file.add(
        "masked average",
        keras.layers.GlobalAveragePooling1D(),
        sequences(),
        {"kind": "GlobalAveragePooling1D", "arguments": [], "options": {}},
        mask=MASKS["holes"],
    )
    vector = random.normal(size=(BATCH, FEATURES))
    described = {"kind": "RepeatVector", "arguments": [TIME], "options": {}}
    file.add("repeat", keras.layers.RepeatVector(TIME), vector, described)
    layer = keras.layers.RNN(LayerNormSimpleRNNCell(UNITS), return_sequences=True)
    file.add(
        "layer norm", layer, sequences(), {"kind": "LayerNorm", "arguments": [FEATURES, UNITS], "options": {}}
    )
    file.write()


if __name__ == "__main__":
    recurrent("simple_rnn", [{}])
    recurrent("lstm", [{}])
    recurrent("gru", [{"reset_after": True}, {"reset_after": False}])
    bidirectional()
    others()
