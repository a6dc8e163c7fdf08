"""Draw docs/understanding/cell_*.svg: the three cells, as `ur.nn.draw_cell` draws them.

python docs/draw_cells.py
"""

from pathlib import Path

import unrolled as ur

if __name__ == "__main__":
    for kind in ("simple_rnn", "lstm", "gru"):
        path = Path(__file__).parent / "understanding" / f"cell_{kind}.svg"
        path.write_text(ur.nn.draw_cell(kind) + "\n", "utf-8")
