"""What the narrator says, in English and in Portuguese. ``{names}`` are filled in."""

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "title": "Chat4All: one message, every channel, never lost, never doubled",
    "where": "tenant {tenant} at {url}",
    "act1": "1. Two people talk in the app",
    "users": "ana and bruno are users of the tenant",
    "conversation": "their private conversation is {conversation_id}",
    "ana_writes": "ana writes “{text}”: answered 202 in {ms:.0f} ms as number {seq}",
    "bruno_sees": "bruno reads the history and finds it there",
    "bruno_read": "bruno has read it: ana's message is READ",
    "bruno_answers": "bruno answers “{text}”, number {seq}",
    "ana_read": "ana has read it too",
    "act2": "2. A WhatsApp customer reaches bruno on Instagram, and bruno answers from there",
    "accounts": "the tenant has an account at each provider (simulators that speak their wire format)",
    "identities": "carla is linked to WhatsApp {whatsapp}, bruno to Instagram {instagram}",
    "rules": "routing rules join the two: WhatsApp from carla goes to bruno's Instagram, and back",
    "carla_writes": "carla writes on WhatsApp: “{text}”",
    "instagram_shows": "bruno's Instagram shows “{text}” after {ms:.0f} ms",
    "instagram_read": "Instagram's signed callbacks came in: the message is READ",
    "bruno_instagram": "bruno answers in Instagram: “{text}”",
    "whatsapp_shows": "carla's WhatsApp shows “{text}” after {ms:.0f} ms",
    "whatsapp_read": "WhatsApp's signed callbacks came in: the answer is READ",
    "once": "each of the two was sent to its provider exactly once",
    "act3": "3. The same message twice is one message",
    "first": "sent as {message_id}: number {seq}",
    "again": "sent again with the same content: same number {seq}, and the platform says it knew it",
    "conflict": "sent again with other content: refused with 409",
    "one": "the history holds it once, and the numbers 1 to {last} have no gap",
    "history": "every state that was recorded",
    "summary": "all {count} steps came true in {seconds:.1f} s",
    "next": "look around: {url}/docs   {url}/simulators   chat4all events show {message_id}",
    "failed": "the demo stopped: {why}",
    "waiting": "waiting for {what}",
    "text_ana": "Hello Bruno, is the order on its way? {tag}",
    "text_bruno": "It is, Ana. {tag}",
    "text_carla": "Hi! Has my order left? {tag}",
    "text_reply": "It left this morning, Carla! {tag}",
    "text_once": "Pay once {tag}",
    "text_other": "Pay twice {tag}",
    "chat": "ana → bruno, in the app",
    "inbound": "carla (WhatsApp) → bruno (Instagram)",
    "reply": "bruno (Instagram) → carla (WhatsApp)",
}

PORTUGUESE: Mapping[str, str] = {
    "title": "Chat4All: uma mensagem, todos os canais, nunca perdida, nunca duplicada",
    "where": "tenant {tenant} em {url}",
    "act1": "1. Duas pessoas conversam no aplicativo",
    "users": "ana e bruno são usuários do tenant",
    "conversation": "a conversa privada deles é {conversation_id}",
    "ana_writes": "ana escreve “{text}”: 202 em {ms:.0f} ms, número {seq}",
    "bruno_sees": "bruno lê o histórico e encontra a mensagem",
    "bruno_read": "bruno leu: a mensagem de ana está READ",
    "bruno_answers": "bruno responde “{text}”, número {seq}",
    "ana_read": "ana também leu",
    "act2": "2. Uma cliente no WhatsApp chega ao Instagram do bruno, e ele responde de lá",
    "accounts": "o tenant tem uma conta em cada provedor (simuladores que falam o formato deles)",
    "identities": "carla está ligada ao WhatsApp {whatsapp}, bruno ao Instagram {instagram}",
    "rules": "regras de roteamento unem os dois: do WhatsApp da carla ao Instagram do bruno, e de volta",
    "carla_writes": "carla escreve no WhatsApp: “{text}”",
    "instagram_shows": "o Instagram do bruno mostra “{text}” após {ms:.0f} ms",
    "instagram_read": "os avisos assinados do Instagram chegaram: a mensagem está READ",
    "bruno_instagram": "bruno responde no Instagram: “{text}”",
    "whatsapp_shows": "o WhatsApp da carla mostra “{text}” após {ms:.0f} ms",
    "whatsapp_read": "os avisos assinados do WhatsApp chegaram: a resposta está READ",
    "once": "cada uma das duas foi enviada ao provedor exatamente uma vez",
    "act3": "3. A mesma mensagem duas vezes é uma mensagem só",
    "first": "enviada como {message_id}: número {seq}",
    "again": "enviada de novo com o mesmo conteúdo: mesmo número {seq}, e a plataforma diz que já a conhecia",
    "conflict": "enviada de novo com outro conteúdo: recusada com 409",
    "one": "o histórico a tem uma vez só, e os números de 1 a {last} não têm buraco",
    "history": "todos os estados registrados",
    "summary": "todos os {count} passos se cumpriram em {seconds:.1f} s",
    "next": "olhe em volta: {url}/docs   {url}/simulators   chat4all events show {message_id}",
    "failed": "a demonstração parou: {why}",
    "waiting": "esperando {what}",
    "text_ana": "Oi Bruno, o pedido já saiu? {tag}",
    "text_bruno": "Já saiu, Ana. {tag}",
    "text_carla": "Olá! Meu pedido já saiu? {tag}",
    "text_reply": "Saiu hoje de manhã, Carla! {tag}",
    "text_once": "Pagar uma vez {tag}",
    "text_other": "Pagar duas vezes {tag}",
    "chat": "ana → bruno, no aplicativo",
    "inbound": "carla (WhatsApp) → bruno (Instagram)",
    "reply": "bruno (Instagram) → carla (WhatsApp)",
}


def texts(language: str) -> Mapping[str, str]:
    """
    The texts of ``language``: a code such as pt, or a locale such as pt_BR.UTF-8. English is the default.

    >>> texts("pt_BR.UTF-8") is PORTUGUESE, texts("C") is ENGLISH
    (True, True)
    """
    return PORTUGUESE if language.lower().startswith("pt") else ENGLISH
