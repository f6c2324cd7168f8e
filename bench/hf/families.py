"""Small models of transformers with random weights, of every family that palimpsest imports and exports, and a tokenizer for
them. Variants differ in what their family leaves open: tied or free heads, biases, activations, rotary scaling, windows."""
import transformers
from transformers import (
    BertConfig, BertForMaskedLM, BertForPreTraining, BertForTokenClassification, BertModel, GPT2Config, GPT2LMHeadModel, GPT2Model,
    LlamaConfig, LlamaForCausalLM, ModernBertConfig, ModernBertForMaskedLM, ModernBertForSequenceClassification, RobertaConfig, RobertaForMaskedLM)
import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, trainers

SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
PAD, SPECIALS = 1, len(SPECIAL)

# Sizes: of the cases that are kept in the repository, and of those that are made anew for every check.
KEPT = dict(vocab=64, width=16, layers=2, heads=4, kv_heads=2, ff=24, context=16)
FRESH = dict(vocab=320, width=48, layers=3, heads=4, kv_heads=2, ff=80, context=64)


def tokenizer(vocab):
    """A WordPiece tokenizer of fewer tokens than the model's vocabulary, which is padded."""
    t = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    text = ["the quick brown fox jumps over the lazy dog while five wizards vex a jolly quartz king"] * 4
    t.train_from_iterator(text, trainers.WordPieceTrainer(vocab_size=vocab - 4, special_tokens=SPECIAL, show_progress=False))
    return t


def bert_keys(s, **more):
    return dict(vocab_size=s["vocab"], hidden_size=s["width"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"], intermediate_size=s["ff"],
                max_position_embeddings=s["context"], pad_token_id=PAD, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0) | more


def bert(cls, **more):
    return lambda s: (cls, BertConfig(**bert_keys(s, **more)))


def roberta(**more):
    return lambda s: (RobertaForMaskedLM, RobertaConfig(**bert_keys(
        s, type_vocab_size=1, layer_norm_eps=1e-5, max_position_embeddings=s["context"] + PAD + 1, bos_token_id=0, eos_token_id=2, **more)))


def gpt2(cls, **more):
    return lambda s: (cls, GPT2Config(vocab_size=s["vocab"], n_embd=s["width"], n_layer=s["layers"], n_head=s["heads"], n_positions=s["context"],
                                      attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, bos_token_id=0, eos_token_id=2, **more))


def llama(**more):
    return lambda s: (LlamaForCausalLM, LlamaConfig(**(dict(
        vocab_size=s["vocab"], hidden_size=s["width"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"],
        intermediate_size=s["ff"], max_position_embeddings=s["context"], rope_theta=5000.0, bos_token_id=0, eos_token_id=2) | more)))


def modernbert(cls, **more):
    return lambda s: (cls, ModernBertConfig(**(dict(
        vocab_size=s["vocab"], hidden_size=s["width"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"], intermediate_size=s["ff"],
        max_position_embeddings=s["context"], local_attention=6, global_attn_every_n_layers=2, reference_compile=False, pad_token_id=PAD,
        bos_token_id=0, cls_token_id=0, eos_token_id=2, sep_token_id=2) | more)))


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
BIASES = dict(attention_bias=True, norm_bias=True, classifier_bias=True, mlp_bias=True)

# Those with a language model's head, which are trained too.
TRAINED = {
    "bert": bert(BertForMaskedLM),
    "bert-free": bert(BertForMaskedLM, tie_word_embeddings=False, hidden_act="gelu_new"),
    "roberta": roberta(),
    "gpt2": gpt2(GPT2LMHeadModel),
    "gpt2-free": gpt2(GPT2LMHeadModel, tie_word_embeddings=False, n_inner=72),
    "llama": llama(),
    "llama-tied": llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, num_key_value_heads=4),
    "llama-3": llama(rope_theta=500.0, rope_scaling=LLAMA3),
    "llama-linear": llama(rope_theta=500.0, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "modernbert": modernbert(ModernBertForMaskedLM),
    "modernbert-biases": modernbert(ModernBertForMaskedLM, global_attn_every_n_layers=3, **BIASES),
}
OTHERS = {
    "bert-body": bert(BertModel),
    "bert-pretraining": bert(BertForPreTraining),
    "bert-tokens": bert(BertForTokenClassification, num_labels=5),
    "gpt2-body": gpt2(GPT2Model),
    "modernbert-sequences": modernbert(ModernBertForSequenceClassification, num_labels=3, classifier_pooling="cls"),
}
VARIANTS = TRAINED | OTHERS


def make(variant, size, seed, attention="eager"):
    """A model in float32 whose every parameter is far from its initial value, norms and biases included."""
    transformers.logging.set_verbosity_error()
    cls, config = VARIANTS[variant](size)
    config._attn_implementation = attention
    torch.manual_seed(seed)
    model = cls(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model


def save(model, folder, size):
    """A folder as save_pretrained makes it, with the tokenizer."""
    model.save_pretrained(folder)
    tokenizer(size["vocab"]).save(f"{folder}/tokenizer.json")
