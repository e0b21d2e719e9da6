"""Requests as programs send them, by their shape: what is read of them, and what is left out."""

from typing import Any

from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.commands import AddText, AddToolResult
from mlx_gemma4.serve import chat_completions, messages, responses
from mlx_gemma4.serve.request import Media

COMMAND = {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]}


def said(role: str, *texts: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text} for text in texts]
    return {"type": "message", "id": "msg_1", "role": role, "content": content}


def test_codex_declares_tools_that_are_left_out_and_sends_results_back() -> None:
    function = {"type": "function", "name": "exec_command", "strict": False, "parameters": COMMAND}
    request = responses.parse(
        {
            "model": "gemma",
            "stream": True,
            "input": [
                said("developer", "rules"),
                said("developer", "more", "rules"),
                said("user", "where we are"),
                said("user", "list the files"),
                {"type": "function_call", "status": "completed", "id": "fc_1", "call_id": "c1",
                 "name": "exec_command", "arguments": '{"cmd": "ls"}'},
                {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": "a"},
            ],
            "tools": [function, {"type": "namespace", "name": "agents", "tools": [function]},
                      {"type": "web_search", "external_web_access": False}],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"summary": "auto"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "key",
            "client_metadata": {"turn_id": "1"},
        }
    )  # fmt: skip
    assert [turn.role for turn in request.turns] == ["system", "user", "model", "user"]
    assert request.turns[0].parts == (AddText("rules"), AddText("more"), AddText("rules"))
    (call,) = request.turns[2].parts
    assert isinstance(call, ToolCall) and (call.id, call.arguments) == ("c1", {"cmd": "ls"})
    (result,) = request.turns[3].parts
    assert isinstance(result, AddToolResult) and (result.call_id, result.content) == ("c1", "a")
    assert [tool["function"]["name"] for tool in request.tools] == ["exec_command"]
    assert request.stream and not request.thinking


def test_claude_code_sends_a_changing_block_and_instructions_in_the_middle() -> None:
    def body(number: int) -> dict[str, Any]:
        kept = {"cache_control": {"type": "ephemeral"}}
        picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
        return {
            "model": "gemma",
            "max_tokens": 32_000,
            "system": [
                {"type": "text", "text": f"x-anthropic-billing-header: cc_version={number}"},
                {"type": "text", "text": "You are helpful.", **kept},
            ],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "list the files", **kept}]},
                {"role": "system", "content": "reminders"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"cmd": "ls"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                        {"type": "text", "text": "a"}, {"type": "image", "source": picture}]}]},
            ],
            "tools": [{"name": "Bash", "description": "d", "input_schema": COMMAND}],
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "high"},
            "metadata": {"user_id": "u"},
            "stream": True,
        }  # fmt: skip

    one, other = messages.parse(body(1)), messages.parse(body(2))
    assert [repr(turn.parts) for turn in one.turns] == [repr(turn.parts) for turn in other.turns]
    assert [turn.role for turn in one.turns] == ["system", "user", "model", "user"]
    assert one.turns[0].parts == (AddText("You are helpful."),)
    assert one.turns[1].parts == (AddText("list the files"), AddText("reminders"))
    (result,) = one.turns[3].parts
    assert isinstance(result, AddToolResult)
    assert result.content[0] == "a" and isinstance(result.content[1], Media)
    assert not one.thinking and one.sampling.max_tokens == 32_000


def test_chats_have_results_without_a_text_between_and_fields_nobody_knows() -> None:
    request = chat_completions.parse(
        {
            "model": "gemma",
            "store": False,
            "stream_options": {"include_usage": True},
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "one"},
                {"role": "user", "content": [{"type": "text", "text": "two"}]},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c1", "type": "function",
                     "function": {"name": "bash", "arguments": '{"cmd":"ls"}'}}]},
                {"role": "tool", "tool_call_id": "c1",
                 "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            ],
            "tools": [{"type": "function", "function": {"name": "bash", "parameters": COMMAND}}],
        }
    )  # fmt: skip
    assert [turn.role for turn in request.turns] == ["system", "user", "model", "user"]
    assert request.turns[1].parts == (AddText("one"), AddText("two"))
    (result,) = request.turns[3].parts
    assert isinstance(result, AddToolResult) and result.content == "a\nb"
