"""What an answer of the API advises in words of HTTP, in words of the command line. Its texts stay as they are."""

from shared.domain.identity import USER_ID

COMMANDS = {
    "make one with POST /v1/conversations": "chat4all conversations create USER_ID USER_ID",
    "make them with POST /v1/users": "chat4all users create USER_ID",
    "with other content; PATCH changes it": "chat4all users update USER_ID --name NAME",
    "PATCH it with enabled: true": "chat4all webhooks update WEBHOOK_ID --enable",
    "files go by POST /v1/files/initiate": "chat4all upload FILE --conversation CONVERSATION_ID --as USER_ID",
    "needs the header X-Act-As": "--as USER_ID",
}
"""By what the API says."""

PATTERNS = {
    USER_ID: "a user's id is letters without accents, digits and . _ ~ @ + = | -, with a letter, a digit or _ first, "
    "128 at most",
}


def command_for(told: str) -> str | None:
    """The command that does what ``told`` advises; None where it advises nothing that we know."""
    return next((command for text, command in COMMANDS.items() if text in told), None)


def in_words(told: str) -> str:
    """
    ``told`` without the regular expressions that we have words for.

    >>> in_words("String should match pattern '^[A-Za-z0-9_][A-Za-z0-9._~@+=|-]{0,127}$'")[:30]
    "a user's id is letters without"
    """
    for pattern, words in PATTERNS.items():
        told = told.replace(f"String should match pattern '{pattern}'", words)
    return told
