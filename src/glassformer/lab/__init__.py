"""The lab: change a number, switch a part off, patch one in, and see what follows.

Each function takes a model and a text (or its ids [pos], or [1, pos]) and reads it with everything
recorded, so that whatever it returns can be followed to its numbers by address.
"""

from glassformer.lab.embeddings import Neighbor as Neighbor
from glassformer.lab.experiments import Comparison as Comparison
from glassformer.lab.experiments import ablate as ablate
from glassformer.lab.experiments import edit as edit
from glassformer.lab.experiments import patch as patch
from glassformer.lab.in_context_learning import Repeats as Repeats
from glassformer.lab.logit_attribution import Attribution as Attribution
from glassformer.lab.logit_attribution import Share as Share
from glassformer.lab.logit_lens import Glimpse as Glimpse
from glassformer.lab.readings import analogy as analogy
from glassformer.lab.readings import attribution as attribution
from glassformer.lab.readings import in_context as in_context
from glassformer.lab.readings import lens as lens
from glassformer.lab.readings import neighbors as neighbors
