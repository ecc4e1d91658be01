"""Every formula of Glassformer, in story order; a shape's words are in `ops.axes`.

An op is written once: its formula (data: `formula.tree`), its kernel (PyTorch) and one plain
sentence. A model's line reads ``z = t("z", ops.mix, pattern, v)``: one line, one number.
"""

from glassformer.ops import muon as muon
from glassformer.ops import optimizer as optimizer
from glassformer.ops.activation import ACTIVATIONS as ACTIVATIONS
from glassformer.ops.activation import xielu as xielu
from glassformer.ops.attention import attention as attention
from glassformer.ops.attention import distance_buckets as distance_buckets
from glassformer.ops.attention import embed_distances as embed_distances
from glassformer.ops.attention import mix as mix
from glassformer.ops.elementwise import edit as edit
from glassformer.ops.embedding import add_positions as add_positions
from glassformer.ops.embedding import embed_positions as embed_positions
from glassformer.ops.embedding import embed_sinusoid as embed_sinusoid
from glassformer.ops.embedding import embed_sinusoid_halves as embed_sinusoid_halves
from glassformer.ops.embedding import embed_tokens as embed_tokens
from glassformer.ops.embedding import embed_types as embed_types
from glassformer.ops.embedding import scale_embed as scale_embed
from glassformer.ops.embedding import tie as tie
from glassformer.ops.experts import mixture as mixture
from glassformer.ops.experts import route as route
from glassformer.ops.experts import router as router
from glassformer.ops.linear import cap_logits as cap_logits
from glassformer.ops.linear import merge_heads as merge_heads
from glassformer.ops.linear import mlp_gate as mlp_gate
from glassformer.ops.linear import mlp_in as mlp_in
from glassformer.ops.linear import mlp_out as mlp_out
from glassformer.ops.linear import mlp_up as mlp_up
from glassformer.ops.linear import open_gate as open_gate
from glassformer.ops.linear import project_kv as project_kv
from glassformer.ops.linear import project_q as project_q
from glassformer.ops.linear import project_qkv as project_qkv
from glassformer.ops.linear import project_shared_kv as project_shared_kv
from glassformer.ops.linear import project_shared_qkv as project_shared_qkv
from glassformer.ops.linear import scale_final as scale_final
from glassformer.ops.linear import unembed as unembed
from glassformer.ops.loss import IGNORED as IGNORED
from glassformer.ops.loss import best_prob as best_prob
from glassformer.ops.loss import best_token as best_token
from glassformer.ops.loss import softmax_probs as softmax_probs
from glassformer.ops.loss import unembed_cross_entropy as unembed_cross_entropy
from glassformer.ops.norm import QK_NORMS as QK_NORMS
from glassformer.ops.norm import layer_norm as layer_norm
from glassformer.ops.norm import rms_norm as rms_norm
from glassformer.ops.op import REGISTRY as REGISTRY
from glassformer.ops.op import Composite as Composite
from glassformer.ops.op import Op as Op
from glassformer.ops.op import Tape as Tape
from glassformer.ops.residual import add as add
from glassformer.ops.residual import carry as carry
from glassformer.ops.residual import dropout as dropout
from glassformer.ops.residual import scale_branch as scale_branch
from glassformer.ops.rotary import BY_LENGTH as BY_LENGTH
from glassformer.ops.rotary import ROTATIONS as ROTATIONS
from glassformer.ops.rotary import last_position as last_position
from glassformer.ops.rotary import pair_frequency as pair_frequency
from glassformer.ops.rotary import rotary as rotary
from glassformer.ops.rotary import shared_rotary as shared_rotary
from glassformer.ops.sampling import choose as choose
