"""Makes the HTTP client of one language model server."""

from functools import cache

import httpx2
import openai

from service.reporting.llm.connection import trace_connection
from service.reporting.llm.timed_body import bound_body

_tls = cache(httpx2.create_ssl_context)
"""Loads the authorities' certificates, once for the clients of all servers."""


def openai_client(url: str, api_key: str | None, proxy: str | None = None) -> openai.OpenAI:
    """Returns a client that asks once and follows no redirect, which could lead prompts elsewhere.

    url: the base address; one without a path means its `/v1`. proxy: address of the HTTP proxy to
    ask it through; the environment names none (`HTTPS_PROXY` is not read). Each request opens a
    connection of its own, which can be ended with it.
    """
    client = openai.OpenAI(
        base_url=base_url(url),
        api_key=(api_key or "").strip() or "none",  # files of secrets end with a line break
        max_retries=0,
        http_client=openai.DefaultHttpxClient(
            event_hooks={"request": [trace_connection], "response": [bound_body]},
            follow_redirects=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
            verify=_tls(),
            proxy=proxy,
            trust_env=False,
        ),
    )
    client.organization = client.project = None  # else read from the environment
    return client


def base_url(url: str) -> httpx2.URL:
    """Returns the base address of the API.

    Examples: `http://vllm:8000` and `http://vllm:8000/v1/` give `http://vllm:8000/v1`, and so does
    the address of its `/chat/completions`.
    """
    parsed = httpx2.URL(url)
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return parsed.copy_with(path=path or "/v1")
