"""What the members of a team read of an item: chained chat prompts, or the turns of one conversation."""

from collections.abc import Mapping

from interlat.agents.agent import Agent
from interlat.agents.prompt import chat_prompt
from interlat.engine.prompt import Part, Prompt, Text, Tokens, join_text, token_ids_of, tokenize
from interlat.errors import InputError
from interlat.teams.team import Member, Team, joined_messages
from interlat.teams.turns import Question, TeamRun

_CUT = "\x00"


class TeamPrompts:
    """Writes the prompts of a team.

    Args:
        team: the members.
        agents: by the name of a member its agent, whose chat template writes what the member reads.
    """

    def __init__(self, team: Team, agents: Mapping[str, Agent]) -> None:
        self.team = team
        self.agents = agents

    def prompt(self, member: Member, run: TeamRun) -> Prompt:
        """What a member reads of an item, after the caches that it receives.

        chained: its own chat prompt, with the words of its inputs in it. conversation: after caches, the end of their
        turn and the next user turn; without caches the whole conversation, where what its inputs wrote are the
        assistant's turns, token for token where they have the member's model.

        Raises:
            PromptError: the chat template refuses the turns, or cannot continue a conversation.
        """
        inputs = [self.team.member(name) for name in member.inputs]
        goes_on = member.layout == "conversation" and any(one.sends_cache for one in inputs)
        parts: list[Part] = []
        for writer in [one for one in inputs if one.sends_words] if member.reads_turns and not goes_on else []:
            turn = run.turns[writer.name]
            same = bool(turn.forward_passes) and writer.model == member.model
            said: Part = Tokens(turn.token_ids) if same else Text(turn.final or "", self._literal(writer))
            # The text of another model has its opening in it.
            opening = writer.opening if same else ""
            asked = self._turn(writer, member, run, begins=not parts, opening=opening, words=self._words(writer, run))
            parts += [*asked, said]
        words = self._words(member, run)
        own = self._turn(member, member, run, begins=not parts and not goes_on, opening=member.opening, words=words)
        return join_text([*parts, *own])

    def common_beginning(self, question: Question) -> tuple[int, ...]:
        """The tokens that the prompts of all members about a question begin with, but for the last of these.

        Raises:
            InputError: there is none.
        """
        tokenizer = self.agents[self.team.final_agent.name].engine.tokenizer
        run = TeamRun(question)
        whole = [self._turn(m, m, run, begins=True, opening=m.opening, words=_CUT) for m in self.team.members]
        prompts = [token_ids_of(tokenize(one, tokenizer)) for one in whole]
        longest = min(len(ids) for ids in prompts) - 1
        common = next((n for n in range(longest) if len({ids[n] for ids in prompts}) > 1), longest)
        # One token less: the text of a member may begin with another token.
        if common < 2:
            raise InputError("the prompts of the members have no common beginning to share; leave share_question out")
        return tuple(prompts[0][: common - 1])

    def _words(self, member: Member, run: TeamRun) -> str:
        """What replaces ``{messages}`` in the prompt of a member."""
        if member.reads_turns:
            return ""
        writers = [name for name in member.inputs if self.team.member(name).sends_words]
        return joined_messages([(name, run.turns[name].final or "") for name in writers])

    def _turn(
        self, member: Member, reader: Member, run: TeamRun, *, begins: bool, opening: str, words: str
    ) -> list[Part]:
        """The user turn of a member, up to where it begins to think or to write, as another member reads it."""
        chat, question = self.agents[reader.name].chat, run.question
        asked = question.text if member is self.team.final_agent else question.others or question.text
        content = member.content(asked, words, literal=self._literal(member))
        if begins:
            return chat_prompt(chat, content, system=member.system, opening=opening)
        return join_text([*chat.continuation(content), Text(opening)])

    def _literal(self, member: Member) -> bool:
        return self.agents[member.name].settings.literal
