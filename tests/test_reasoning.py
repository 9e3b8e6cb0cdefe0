import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.reasoning import final_part, marks_among, opened_thought

GPT_OSS = "<|channel|>analysis<|message|>Is it A? No.<|end|><|start|>assistant<|channel|>final<|message|>It is B."
FINAL = [
    # no thoughts
    ("The answer is 7.", "The answer is 7."),
    ("  x = 1\n", "  x = 1\n"),
    ("", ""),
    # Qwen3, DeepSeek-R1, GLM-4.5, Nemotron, SmolLM3: one thought, also an empty one
    (r"<think>maybe \boxed{12}</think> The answer is 7.", "The answer is 7."),
    ("<think>\n\n</think>\n\n7", "7"),
    ("\n<THINK>a</THINK>7", "7"),
    # the prompt opened it
    ("maybe 12\n</think>\n\nThe answer is 7.", "The answer is 7."),
    ("a ```python\nx = 1\n</think>\n7", "7"),
    # further families: Seed-OSS, EXAONE Deep, Magistral, Kimi-VL, Command A, OpenThinker, Apertus, Gemma 4
    ("<seed:think>a</seed:think>7", "7"),
    ("<thought>\na</thought>\n\n7", "7"),
    ("<thinking>a</thinking>7", "7"),
    ("<reasoning>a</reasoning>7", "7"),
    ("[THINK]a[/THINK]7", "7"),
    ("\u25c1think\u25b7a\u25c1/think\u25b77", "7"),
    ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>7<|END_RESPONSE|>", "7"),
    ("<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>\n7\n<|end_of_solution|>", "7"),
    ("<|inner_prefix|>a<|inner_suffix|>7", "7"),
    ("<|channel>thought\na<channel|>7", "7"),
    # Hunyuan
    ("<think>\na\n</think>\n<answer>\n7\n</answer>", "7"),
    ("<answer>7</answer> It is <answer>8</answer>", "<answer>7</answer> It is <answer>8</answer>"),
    # several thoughts, and a thought that names its own mark
    ("<think>a</think>I look it up. <think>b</think> 7", "7"),
    ("<think>I close it with </think>, and so \\boxed{12}</think> 7", "7"),
    ("<think>a <think> b</think> 7", "7"),
    # gpt-oss
    (GPT_OSS, "It is B."),
    (GPT_OSS + "<|return|>", "It is B."),
    ("<|channel|>final <|constrain|>json<|message|>{}<|end|><|start|>assistant", "{}"),
    ("<|channel|>final<|message|>A<|end|>" + GPT_OSS, "It is B."),
    ("analysisOption C could be a trap, it is Paris.assistantfinalB", "B"),
    ("analysisThe answer is 41? No.assistantcommentary to=functions.lookup{}assistantfinalIt is 42.", "It is 42."),
    ("finalB", "B"),
    ("finalIt is 42.", "It is 42."),
    ("finalPrice = 20", "finalPrice = 20"),
    ("finalScore += 1\nprint(finalScore)", "finalScore += 1\nprint(finalScore)"),
    ("analysisOf(x)", "analysisOf(x)"),
    ("commentaryText.strip()", "commentaryText.strip()"),
    ("finally B", "finally B"),
    ("analysis of the reply: 7", "analysis of the reply: 7"),
    ("Analysis: final answer B", "Analysis: final answer B"),
    # marks in what is said are no thoughts
    ("<think>a</think>\n```python\nx = '</think>'.join('<think>')\n```\nDone.",
     "```python\nx = '</think>'.join('<think>')\n```\nDone."),
    ("Cut it at `<think>`: 7", "Cut it at `<think>`: 7"),
    ("```python\nre.sub('<think>.*</think>', '', text)\n```", "```python\nre.sub('<think>.*</think>', '', text)\n```"),
    ("~~~\n<think>\n~~~", "~~~\n<think>\n~~~"),
]  # fmt: skip
UNENDED = [
    r"<think>maybe \boxed{12}",
    "<think>",
    "<think>a</think>Wait. <think>b",
    "[THINK]7",
    "<seed:think>7",
    "<|channel|>analysis<|message|>7",
    "<|channel|>commentary<|message|>I look it up: 7",
    "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final",
    "analysisThe answer is 7",
    "<think>```python\nx\n",
]


@pytest.mark.parametrize(("reply", "said"), FINAL)
def test_the_final_part_follows_the_last_thought(reply, said):
    assert final_part(reply) == said


@pytest.mark.parametrize("reply", UNENDED)
def test_a_thought_that_never_ends_has_no_final_part(reply):
    assert final_part(reply) is None


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "x", "```", "\n", "`", "<|channel|>", "analysis"]), max_size=12)
)
def test_the_final_part_is_a_part_and_holds_no_thought(pieces):
    reply = "".join(pieces)
    said = final_part(reply)
    assert said is None or (said in reply and (final_part(said) == said or "`" in said))


def test_marks_by_the_ten_thousand_take_no_time():
    for piece in ("<think>", "</think>", "```\n", "`", "<|channel|>", "~~~", "<|channel|>final", " \t"):
        final_part(piece * 20_000)


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<|Assistant|><think>\n", "<think>\n"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("<|im_start|>assistant\n", ""),
        ("Write <think> before you think.<|im_start|>assistant\n", ""),
        ("[THINK]", "[THINK]"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>analysis<|message|>"),
        ("", ""),
    ],
)
def test_a_prompt_may_open_a_thought(prompt, mark):
    assert opened_thought("x" * 500 + prompt) == mark
    if mark:
        assert final_part(mark + "7") is None


def test_decoders_keep_the_marks_and_nothing_else():
    phi = {"<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>"}
    gpt_oss = {"<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|endoftext|>"}
    assert marks_among(phi) == frozenset()
    assert marks_among(gpt_oss) == gpt_oss - {"<|endoftext|>"}
    assert marks_among({"[THINK]", "[/THINK]", "[INST]"}) == {"[THINK]", "[/THINK]"}
