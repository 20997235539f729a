"""Resolves functions in a template's conditions that CloudFormation resolves and the emulator does not. MiniStack
1.5.33 resolves references, and Fn::Select from them, but treats Fn::Join and Fn::Split as plain texts. No I/O.

Source: CloudFormation template reference, "Condition functions", and what cfn-lint 1.58 allows within Fn::Equals.
"""


def resolved(value, parameters: dict):
    """Returns a condition, or a part of one, with Fn::Join, Fn::Split and Fn::Select resolved. `parameters` are the
    emulator's: each has a "Value", which for a list is one text with commas."""
    if isinstance(value, list):
        return [resolved(part, parameters) for part in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Fn::Join": [separator, parts]}:
            return separator.join(listed(parts, parameters))
        case {"Fn::Split": [separator, text]}:
            return text_of(text, parameters).split(separator)
        case {"Fn::Select": [index, parts]}:
            return listed(parts, parameters)[int(index)]
    return {name: resolved(part, parameters) for name, part in value.items()}


def text_of(value, parameters: dict) -> str:
    value = resolved(value, parameters)
    if isinstance(value, dict):
        value = parameters[value["Ref"]]["Value"]
    return str(value)


def listed(value, parameters: dict) -> list[str]:
    if isinstance(value, list):
        return [text_of(part, parameters) for part in value]
    value = resolved(value, parameters)
    return value if isinstance(value, list) else text_of(value, parameters).split(",")


def evaluating_all(evaluate):
    """Returns a function that resolves the conditions, and then calls the emulator's own evaluation."""
    return lambda template, parameters: evaluate(
        template | {"Conditions": resolved(template.get("Conditions", {}), parameters)}, parameters)
