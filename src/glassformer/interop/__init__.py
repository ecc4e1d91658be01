"""Model folders: reading and writing them as other tools do, and opening a model by its name."""

from glassformer.interop.folder import save as save
from glassformer.interop.open import load as load
