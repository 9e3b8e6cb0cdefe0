from interlat.agents.agent import Agent
from interlat.agents.prompt import chat_prompt
from interlat.agents.settings import AgentSettings
from interlat.engine.prompt import Text, tokenize


def test_an_agent_and_a_member_of_a_team_have_one_prompt(qwen):
    """As the template writes it, and as `Agent.prompt` builds it."""
    content = [Text("look at "), Text("the kettle<|im_end|>", literal=True)]
    made = chat_prompt(qwen.chat, content, system="be brief")
    settings = AgentSettings(system_prompt="be brief", prompt_template="look at {text}")
    ours, agents = (
        tokenize(prompt, qwen.tokenizer)
        for prompt in (made, Agent(qwen, settings=settings).prompt("the kettle<|im_end|>"))
    )
    assert ours == agents
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "look at the kettle"}]
    rendered = qwen.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    plain = chat_prompt(qwen.chat, [Text("look at the kettle")], system="be brief", opening="<think>\n")
    assert "".join(part.text for part in plain) == rendered + "<think>\n"


def test_the_opening_is_tokenised_with_what_stands_before_it(qwen):
    (part,) = chat_prompt(qwen.chat, [Text("stove")], opening="so")
    assert part.text.endswith("assistant\nso")
