"""GGUF: what llama.cpp reads, and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from foreign_kit import TEMPLATE, write_model, write_tokenizer
from safetensors.torch import load_file
from tree_kit import Garden

from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model, save_model

gguf = pytest.importorskip("gguf")
from regrow.model.gguf import read_gguf, write_gguf  # noqa: E402

WILD = "It's 1234 mills,\n\n  and  (no) river;\tso 'twas é 中文 don't! x==y\n"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("digits", [True, False])
def test_a_llama_goes_out_and_comes_back(tmp_path: Path, tied: bool, digits: bool) -> None:
    write_model(tmp_path, "Llama", tie_word_embeddings=tied, rope_theta=500.0)
    write_tokenizer(tmp_path, digits)
    assert write_gguf(tmp_path, tmp_path / "x.gguf", "f32") == ""
    read_gguf(tmp_path / "x.gguf", tmp_path / "back")
    was, now = (load_file(f / "model.safetensors") for f in (tmp_path, tmp_path / "back"))
    assert was.keys() == now.keys()
    assert all(torch.equal(was[name], now[name]) for name in was)
    assert load_model(tmp_path).config == load_model(tmp_path / "back").config
    old, new = Tokenizer.load(tmp_path), Tokenizer.load(tmp_path / "back")
    assert old.encode(WILD) == new.encode(WILD)
    assert (old.eos, old.start, old.special) == (new.eos, new.start, new.special)


def test_queries_and_keys_lie_as_llama_cpp_turns_them(tmp_path: Path) -> None:
    """Its rotary pairs are neighbours: row 1 of a head of 4 is our row 2."""
    write_model(tmp_path, "Llama")
    write_tokenizer(tmp_path)
    write_gguf(tmp_path, tmp_path / "x.gguf", "f32")
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    attention = load_model(tmp_path).blocks[0].attention
    for name, ours, heads in (("attn_q", attention.q, 6), ("attn_k", attention.k, 2)):
        order = [4 * head + row for head in range(heads) for row in (0, 2, 1, 3)]
        stored = torch.from_numpy(tensors[f"blk.0.{name}.weight"].copy())
        assert torch.equal(stored, ours.weight.detach()[order])


def test_a_whole_number_for_theta_is_written_as_the_float_that_llama_cpp_wants(
    tmp_path: Path,
) -> None:
    write_model(tmp_path, "Llama")
    write_tokenizer(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    said = {**said, "rope_theta": 100000}
    if "rope_parameters" in said:
        said["rope_parameters"]["rope_theta"] = 100000
    (tmp_path / "config.json").write_text(json.dumps(said))
    write_gguf(tmp_path, tmp_path / "x.gguf")
    field = gguf.GGUFReader(tmp_path / "x.gguf").fields["llama.rope.freq_base"]
    assert field.types == [gguf.GGUFValueType.FLOAT32]
    assert field.contents() == 100000.0


def test_metadata_are_those_that_llama_cpp_wants(tmp_path: Path) -> None:
    write_model(tmp_path, "Llama", rms_norm_eps=1e-5)
    write_tokenizer(tmp_path)
    write_gguf(tmp_path, tmp_path / "x.gguf", "bf16")
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    values = {name: field.contents() for name, field in reader.fields.items()}
    wanted = {
        "general.architecture": "llama",
        "general.file_type": 32,
        "llama.block_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 4,
        "llama.vocab_size": 320,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    assert {key: values.get(key) for key in wanted} == wanted
    assert values["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert values["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    assert len(values["tokenizer.ggml.tokens"]) == 320
    kinds = {t.name: t.tensor_type.name for t in reader.tensors}
    assert (kinds["blk.0.attn_q.weight"], kinds["output_norm.weight"]) == ("BF16", "F32")


def test_our_own_tokenizer_goes_out_as_the_nearest_that_llama_cpp_has(tmp_path: Path) -> None:
    text = "It's 1234 mills, and (no) river; so don't! x==y 5.\ndef f(n):\n    return n\n"
    tokenizer = train_tokenizer([text] * 3, 340, tmp_path)
    save_model(Decoder(ModelConfig(tokenizer.vocabulary, 24, 1, 3, 1, 40, 40)), tmp_path)
    assert "GPT-2's, which is near" in write_gguf(tmp_path, tmp_path / "x.gguf")
    values = gguf.GGUFReader(tmp_path / "x.gguf").fields
    assert values["tokenizer.ggml.eot_token_id"].contents() == tokenizer.end
    read_gguf(tmp_path / "x.gguf", tmp_path / "back")
    back = Tokenizer.load(tmp_path / "back")
    assert back.encode(text) == tokenizer.encode(text)
    assert (back.special, back.eos) == (tokenizer.special, tokenizer.eos)


def test_a_file_comes_in_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garden = Garden(tmp_path, monkeypatch)
    assert garden.grow("--to", "oak")[0] == 0
    write_model(Path("in"), "Llama")
    write_tokenizer(Path("in"))
    assert garden.call("export", "in", "x.gguf", "--precision", "f32")[0] == 0
    code, _, errors = garden.call("import", "x.gguf", "--name", "guest")
    assert (code, errors) == (0, "")
    assert "is there already" in garden.call("export", "guest", "x.gguf")[2]
    assert "precision is f16" in garden.call("export", "guest", "y.gguf", "--precision", "q4")[2]


def test_what_is_no_gguf_of_a_llama_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"nonsense" * 9)
    with pytest.raises(RegrowError, match="is no GGUF file"):
        read_gguf(tmp_path / "x.gguf", tmp_path / "back")
    writer = gguf.GGUFWriter(tmp_path / "y.gguf", "gemma")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(RegrowError, match="architecture gemma"):
        read_gguf(tmp_path / "y.gguf", tmp_path / "back")
    write_model(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(RegrowError, match="is no Llama"):
        write_gguf(tmp_path, tmp_path / "z.gguf")
