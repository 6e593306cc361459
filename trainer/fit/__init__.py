"""How a network learns, on Lightning Fabric (docs/adr/0007).

``fit`` trains a network on chosen examples, ``score`` gives the logits of others. What is minimised is an
``Objective``: given the network and a batch, the mean loss over the batch's clips. The configuration's own
(``binary`` or ``categorical``) is used unless ``fit`` gets another one, for distillation or self-supervision.
"""

from trainer.fit.loop import Progress, fit
from trainer.fit.objective import Objective, objective_of
from trainer.fit.scoring import Logits, score, threads
from trainer.fit.start import Start, fresh_network, of_fold, start_of

__all__ = [
    "Logits",
    "Objective",
    "Progress",
    "Start",
    "fit",
    "fresh_network",
    "objective_of",
    "of_fold",
    "score",
    "start_of",
    "threads",
]
