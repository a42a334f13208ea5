"""GGUF files of Hugging Face models of every family, as llama.cpp's converter names and stores them: what
make_cases.py and differential.py write. Written against gguf 0.19 and transformers 5.23."""
import gguf
import numpy
import torch
import transformers

ARCHS = {"mistral": "llama", "gemma3_text": "gemma3"}  # others have their own name
PERMUTED = ("llama", "mistral", "smollm3", "granite")
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}


def arch_of(family):
    return ARCHS.get(family, family)


def head_width(c):
    return getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads


def tensor_name(family, name):
    if name in WHOLE:
        return WHOLE[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    module, kind = rest.rsplit(".", 1)
    behind = family in ("gemma2", "gemma3_text", "olmo2")  # of attention's output, not before the MLP
    names = NAMES | {"post_attention_layernorm": "post_attention_norm" if behind else "ffn_norm"}
    return f"blk.{layer}.{names[module]}.{kind}"


def interleave(t, heads):
    """Rows of q and k as such files want them: pairs side by side."""
    return t.reshape(heads, 2, t.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(t.shape)


def part(t, heads):
    """The inverse."""
    return t.reshape(heads, t.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(t.shape)


def llama3_divisors(c):
    """What rope_freqs.weight holds: the default's frequencies over llama3's."""
    rope = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding
    plain = rope.compute_default_rope_parameters(c)[0]
    return (plain / rope(c).inv_freq).numpy().astype(numpy.float32)


def write_rope(w, family, c):
    arch, rope = w.arch, c.rope_parameters
    if family == "gemma3_text":
        w.add_float32(f"{arch}.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    w.add_float32(f"{arch}.rope.freq_base", rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        w.add_string(f"{arch}.rope.scaling.type", rope["rope_type"])
        w.add_float32(f"{arch}.rope.scaling.factor", rope["factor"])
    if rope["rope_type"] in ("longrope", "yarn"):
        w.add_uint32(f"{arch}.rope.scaling.original_context_length", rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        _, factor = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["longrope"](c)
        w.add_float32(f"{arch}.rope.scaling.attn_factor", factor)
        for key in ("long", "short"):
            w.add_tensor(f"rope_factors_{key}.weight", numpy.array(rope[f"{key}_factor"], numpy.float32))
    if rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(c))
    w.add_uint32(f"{arch}.rope.dimension_count", int(head_width(c) * rope.get("partial_rotary_factor", 1.0)))


def write_keys(w, family, c):
    arch, head = w.arch, head_width(c)
    for key, value in (("context_length", c.max_position_embeddings), ("embedding_length", c.hidden_size),
                       ("block_count", c.num_hidden_layers), ("feed_forward_length", c.intermediate_size),
                       ("attention.head_count", c.num_attention_heads),
                       ("attention.head_count_kv", c.num_key_value_heads), ("vocab_size", c.vocab_size)):
        w.add_uint32(f"{arch}.{key}", value)
    if head * c.num_attention_heads != c.hidden_size or family.startswith("gemma"):
        w.add_uint32(f"{arch}.attention.key_length", head)
        w.add_uint32(f"{arch}.attention.value_length", head)
    w.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", c.rms_norm_eps)
    if family in ("mistral", "gemma2", "gemma3_text", "phi3") and c.sliding_window:
        w.add_uint32(f"{arch}.attention.sliding_window", c.sliding_window)
    if family in ("gemma2", "gemma3_text"):
        w.add_array(f"{arch}.attention.sliding_window_pattern", [t == "sliding_attention" for t in c.layer_types])
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            w.add_float32(f"{arch}.{key}", getattr(c, key) or 0.0)
    if family == "granite":
        for key, value in (("attention.scale", c.attention_multiplier), ("embedding_scale", c.embedding_multiplier),
                           ("residual_scale", c.residual_multiplier), ("logit_scale", c.logits_scaling)):
            w.add_float32(f"{arch}.{key}", value)
    write_rope(w, family, c)


def write(path, family, model, kind, tokenizer=None):
    """Writes the model with matrices of that quantisation, everything else in f32. Returns the numbers that
    the file holds, by Hugging Face's names and in its order. llama.cpp wants a tokenizer, if only no_vocab."""
    c, held = model.config, {}
    w = gguf.GGUFWriter(path, arch_of(family))
    if tokenizer:
        w.add_tokenizer_model(tokenizer)
    write_keys(w, family, c)
    heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}
    for name, p in model.named_parameters():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        t = p.detach().float().numpy()
        permuted = heads.get(name.split(".")[-2]) if family in PERMUTED else None
        shift = 1 if family.startswith("gemma") and name.endswith("norm.weight") else 0
        if permuted:
            t = interleave(t, permuted)
        as_kind = kind if t.ndim == 2 else gguf.GGMLQuantizationType.F32
        packed = gguf.quants.quantize((t + numpy.float32(shift)).astype(numpy.float32), as_kind)
        w.add_tensor(tensor_name(family, name), packed, raw_dtype=as_kind)
        back = gguf.quants.dequantize(packed, as_kind).reshape(t.shape).astype(numpy.float32)
        held[name] = torch.from_numpy((part(back, permuted) if permuted else back).copy())
        if shift:
            held[name] = p.detach().float().clone()  # w + 1 - 1 may be an ulp of 1 off
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return held
