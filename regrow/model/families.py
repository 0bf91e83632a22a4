"""The architectures of transformers that `Decoder` computes: one description a family."""

from __future__ import annotations

from dataclasses import replace

from regrow.model.family import Family
from regrow.model.tensors import Names

_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}
_LAYER_NORM = {"norm": "layer", "norm_bias": True}

LLAMA = Family(
    "llama",
    "LlamaForCausalLM",
    keys={
        "vocabulary": "vocab_size",
        "width": "hidden_size",
        "hidden": "intermediate_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "context": "max_position_embeddings",
        "rope_theta": "rope_theta",
        "norm_eps": "rms_norm_eps",
        "activation": "hidden_act",
        "attention_bias": "attention_bias",
        "mlp_bias": "mlp_bias",
        "tied": "tie_word_embeddings",
    },
    absent={
        "kv_heads": None, "head_dim": None, "rope_theta": 10000.0, "norm_eps": 1e-6,
        "activation": "silu", "attention_bias": False, "mlp_bias": False, "tied": False,
    },
    activations=_GATED,
    names=Names(
        {
            "embedding": "model.embed_tokens.weight",
            "attention_norm": "model.layers.{}.input_layernorm",
            "attention.q": "model.layers.{}.self_attn.q_proj",
            "attention.k": "model.layers.{}.self_attn.k_proj",
            "attention.v": "model.layers.{}.self_attn.v_proj",
            "attention.out": "model.layers.{}.self_attn.o_proj",
            "mlp_norm": "model.layers.{}.post_attention_layernorm",
            "gate": "model.layers.{}.mlp.gate_proj",
            "up": "model.layers.{}.mlp.up_proj",
            "down": "model.layers.{}.mlp.down_proj",
            "norm": "model.norm",
            "head": "lm_head.weight",
        }
    ),
)  # fmt: skip

#: Llama under another name where it slides no window over its keys.
MISTRAL = replace(
    LLAMA,
    model_type="mistral",
    architecture="MistralForCausalLM",
    absent={**LLAMA.absent, "kv_heads": 8, "sliding_window": 4096},
    needs={"sliding_window": None},
)

GPT2 = Family(
    "gpt2",
    "GPT2LMHeadModel",
    keys={
        "vocabulary": "vocab_size",
        "width": "n_embd",
        "hidden": "n_inner",
        "layers": "n_layer",
        "heads": "n_head",
        "context": "n_positions",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation_function",
        "tied": "tie_word_embeddings",
    },
    absent={"hidden": None, "norm_eps": 1e-5, "activation": "gelu_new", "tied": True},
    fixed=_LAYER_NORM | {"positions": "learned", "attention_bias": True, "mlp_bias": True},
    needs={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    dropouts=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    names=Names(
        {
            "embedding": "transformer.wte.weight",
            "position_embedding": "transformer.wpe.weight",
            "attention_norm": "transformer.h.{}.ln_1",
            "attention.q": "transformer.h.{}.attn.c_attn",
            "attention.k": "transformer.h.{}.attn.c_attn",
            "attention.v": "transformer.h.{}.attn.c_attn",
            "attention.out": "transformer.h.{}.attn.c_proj",
            "mlp_norm": "transformer.h.{}.ln_2",
            "up": "transformer.h.{}.mlp.c_fc",
            "down": "transformer.h.{}.mlp.c_proj",
            "norm": "transformer.ln_f",
            "head": "lm_head.weight",
        },
        transposed=True,
    ),
)

OPT = Family(
    "opt",
    "OPTForCausalLM",
    keys={
        "vocabulary": "vocab_size",
        "width": "hidden_size",
        "embedding_width": "word_embed_proj_dim",
        "hidden": "ffn_dim",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "context": "max_position_embeddings",
        "norm_place": "do_layer_norm_before",
        "final_norm": "_remove_final_layer_norm",
        "activation": "activation_function",
        "attention_bias": "enable_bias",
        "mlp_bias": "enable_bias",
        "tied": "tie_word_embeddings",
    },
    absent={
        "embedding_width": 0, "norm_place": True, "final_norm": False, "activation": "relu",
        "attention_bias": True, "mlp_bias": True, "tied": True,
    },
    fixed=_LAYER_NORM | {"positions": "learned", "position_offset": 2},
    needs={"layer_norm_elementwise_affine": True, "layerdrop": 0.0},
    dropouts=("dropout", "attention_dropout"),
    names=Names(
        {
            "embedding": "model.decoder.embed_tokens.weight",
            "position_embedding": "model.decoder.embed_positions.weight",
            "project_in": "model.decoder.project_in",
            "project_out": "model.decoder.project_out",
            "attention_norm": "model.decoder.layers.{}.self_attn_layer_norm",
            "attention.q": "model.decoder.layers.{}.self_attn.q_proj",
            "attention.k": "model.decoder.layers.{}.self_attn.k_proj",
            "attention.v": "model.decoder.layers.{}.self_attn.v_proj",
            "attention.out": "model.decoder.layers.{}.self_attn.out_proj",
            "mlp_norm": "model.decoder.layers.{}.final_layer_norm",
            "up": "model.decoder.layers.{}.fc1",
            "down": "model.decoder.layers.{}.fc2",
            "norm": "model.decoder.final_layer_norm",
            "head": "lm_head.weight",
        }
    ),
)  # fmt: skip

BLOOM = Family(
    "bloom",
    "BloomForCausalLM",
    keys={
        "vocabulary": "vocab_size",
        "width": "hidden_size n_embed",
        "layers": "n_layer num_hidden_layers",
        "heads": "n_head num_attention_heads",
        "context": "seq_length",
        "norm_eps": "layer_norm_epsilon",
        "tied": "tie_word_embeddings",
    },
    absent={"context": 2048, "norm_eps": 1e-5, "tied": True},
    fixed=_LAYER_NORM
    | {
        "positions": "alibi",
        "embedding_norm": True,
        "activation": "gelu-tanh",
        "attention_bias": True,
        "mlp_bias": True,
    },
    needs={"apply_residual_connection_post_layernorm": False},
    dropouts=("hidden_dropout", "attention_dropout"),
    names=Names(
        {
            "embedding": "transformer.word_embeddings.weight",
            "embedding_norm": "transformer.word_embeddings_layernorm",
            "attention_norm": "transformer.h.{}.input_layernorm",
            "attention.q": "transformer.h.{}.self_attention.query_key_value",
            "attention.k": "transformer.h.{}.self_attention.query_key_value",
            "attention.v": "transformer.h.{}.self_attention.query_key_value",
            "attention.out": "transformer.h.{}.self_attention.dense",
            "mlp_norm": "transformer.h.{}.post_attention_layernorm",
            "up": "transformer.h.{}.mlp.dense_h_to_4h",
            "down": "transformer.h.{}.mlp.dense_4h_to_h",
            "norm": "transformer.ln_f",
            "head": "lm_head.weight",
        },
        turns=True,
    ),
)

NEOX = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    keys={
        "vocabulary": "vocab_size",
        "width": "hidden_size",
        "hidden": "intermediate_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "context": "max_position_embeddings",
        "rope_theta": "rope_theta rotary_emb_base",
        "rope_share": "partial_rotary_factor rotary_pct",
        "norm_eps": "layer_norm_eps",
        "activation": "hidden_act",
        "parallel": "use_parallel_residual",
        "attention_bias": "attention_bias",
        "tied": "tie_word_embeddings",
    },
    absent={
        "rope_theta": 10000.0, "rope_share": 0.25, "norm_eps": 1e-5, "activation": "gelu",
        "parallel": True, "attention_bias": True, "tied": False,
    },
    fixed=_LAYER_NORM | {"mlp_bias": True},
    dropouts=("hidden_dropout", "attention_dropout"),
    names=Names(
        {
            "embedding": "gpt_neox.embed_in.weight",
            "attention_norm": "gpt_neox.layers.{}.input_layernorm",
            "attention.q": "gpt_neox.layers.{}.attention.query_key_value",
            "attention.k": "gpt_neox.layers.{}.attention.query_key_value",
            "attention.v": "gpt_neox.layers.{}.attention.query_key_value",
            "attention.out": "gpt_neox.layers.{}.attention.dense",
            "mlp_norm": "gpt_neox.layers.{}.post_attention_layernorm",
            "up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
            "down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
            "norm": "gpt_neox.final_layer_norm",
            "head": "embed_out.weight",
        },
        turns=True,
    ),
)  # fmt: skip

#: PaLM's shape: parallel halves under one LayerNorm without bias, SwiGLU, multi-query attention.
COHERE = Family(
    "cohere",
    "CohereForCausalLM",
    keys={
        **{name: key for name, key in LLAMA.keys.items() if name != "mlp_bias"},
        "norm_eps": "layer_norm_eps",
        "logit_scale": "logit_scale",
    },
    absent={
        **{name: value for name, value in LLAMA.absent.items() if name != "mlp_bias"},
        "rope_theta": 500000.0, "norm_eps": 1e-5, "tied": True, "logit_scale": 0.0625,
    },
    fixed={"norm": "layer", "parallel": True, "shared_norm": True},
    needs={"use_qk_norm": False},
    activations=_GATED,
    names=replace(LLAMA.names, paired=True),
)  # fmt: skip

#: The first that computes a shape is the one it is saved as.
FAMILIES = (LLAMA, GPT2, OPT, BLOOM, NEOX, COHERE, MISTRAL)
