"""The recurrence over a whole sequence: its definition, its implementations, and the choice between them.

- `recurrence.py` names everything that one call needs;
- `reference.py` is the definition: a short loop per cell in plain PyTorch;
- `aten.py` calls the loops that PyTorch brings along;
- `dispatch.py` holds the table that picks one, and says why.
"""
