"""The published listing of E5b in Keras, run by `peers` in a process of its own: `python keras_listing.py DATA.npz`.

Prints seconds (of `fit`, compiling included) and the validation error in riders.
"""

import sys
import time

__all__ = ["main"]


def main(path: str) -> None:
    """Train one seed, as published."""
    import keras
    import numpy as np

    with np.load(path) as data:
        x, y, x_valid, y_valid = (data[name] for name in ("x", "y", "x_valid", "y_valid"))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, 1)), keras.layers.SimpleRNN(32), keras.layers.Dense(1)])
    stop = keras.callbacks.EarlyStopping(
        monitor="val_mae", mode="min", patience=50, restore_best_weights=True
    )
    model.compile(
        loss=keras.losses.Huber(),
        optimizer=keras.optimizers.SGD(learning_rate=0.05, momentum=0.9),
        metrics=["mae"],
    )
    start = time.perf_counter()
    model.fit(
        x, y, batch_size=32, epochs=500, validation_data=(x_valid, y_valid), callbacks=[stop], verbose=0
    )
    seconds = time.perf_counter() - start
    print(seconds, 1e6 * model.evaluate(x_valid, y_valid, verbose=0)[1])


if __name__ == "__main__":
    main(sys.argv[1])
