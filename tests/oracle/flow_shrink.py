"""Makes a failing world small: leaves out operations, then parts of documents, as long as the same
is wrong.
"""

import copy

import psycopg2

from flow_interpreter import Ambiguous


def shrink(operations, replay, wanted):
    """replay plays operations anew and returns what is wrong, by a word; that has to stay."""
    def fails(candidate):
        try:
            return replay(candidate) == wanted
        except (Ambiguous, psycopg2.Error, KeyError, StopIteration, AssertionError, IndexError,
                TypeError):
            return False

    operations = without_some(operations, fails)
    for place, operation in enumerate(operations):
        if operation[0] == 'publish':
            operations = simpler_document(operations, place, fails)
    return without_some(operations, fails)


def without_some(operations, fails):
    """Chunks of half the length, then of a quarter, and so on."""
    size = len(operations) // 2
    while size:
        place = len(operations) - size
        while place >= 0:
            candidate = operations[:place] + operations[place + size:]
            if fails(candidate):
                operations = candidate
            place -= size
        size //= 2
    return operations


def simpler_document(operations, place, fails):
    changed = True
    while changed:
        changed = False
        for document in simpler(operations[place][1]):
            candidate = operations[:place] + [('publish', document)] + operations[place + 1:]
            if fails(candidate):
                operations, changed = candidate, True
                break
    return operations


def simpler(document):
    for key in document.keys() - {'name', 'trigger', 'nodes'}:
        yield {k: v for k, v in document.items() if k != key}
    for number, node in enumerate(document['nodes']):
        yield from bypassed(document, node)
        for key in node.keys() - {
                'id', 'type', 'next', 'else', 'branches', 'arms', 'channel', 'body', 'subject',
                'url'}:
            smaller = copy.deepcopy(document)
            del smaller['nodes'][number][key]
            yield smaller
        for key in node.keys() & {'next', 'else'}:
            smaller = copy.deepcopy(document)
            del smaller['nodes'][number][key]
            yield reachable(smaller)


def bypassed(document, node):
    """Without this node: what led to it leads to one of its targets."""
    for target in [node.get('next'), node.get('else')] + [
            part.get('next') for part in node.get('branches', []) + node.get('arms', [])]:
        smaller = copy.deepcopy(document)
        smaller['nodes'] = [n for n in smaller['nodes'] if n['id'] != node['id']]
        for holder, key in slots(smaller):
            if holder.get(key) == node['id']:
                redirect(holder, key, target)
        if document['nodes'][0] is node:
            smaller['nodes'].sort(key=lambda n: n['id'] != target)
        if smaller['nodes']:
            yield reachable(smaller)


def redirect(holder, key, target):
    if target is None:
        del holder[key]
    else:
        holder[key] = target


def slots(document):
    for node in document['nodes']:
        for holder in [node] + node.get('branches', []) + node.get('arms', []):
            for key in ('next', 'else'):
                yield holder, key


def reachable(document):
    """Only the nodes that the first one leads to."""
    nodes = {node['id']: node for node in document['nodes']}
    found, todo = set(), [document['nodes'][0]['id']]
    while todo:
        node_id = todo.pop()
        if node_id in nodes and node_id not in found:
            found.add(node_id)
            todo += [
                holder[key] for holder, key in slots({'nodes': [nodes[node_id]]}) if key in holder]
    return {**document, 'nodes': [node for node in document['nodes'] if node['id'] in found]}
