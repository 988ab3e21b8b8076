import type { Installation } from './installation.ts'

/** What is needed to understand a failure: pods, events, each agent's view, and all logs. */
export async function evidenceOf(one: Installation): Promise<string> {
  const part = async (title: string, text: () => Promise<string> | string) =>
    `--- ${title}\n${await Promise.resolve()
      .then(text)
      .catch((error: Error) => error.message)}`
  one.logs.read()
  const pods = await one.pods().catch(() => [])
  return [
    await part('pods', () => one.kubectl('get', 'all,lease,endpointslices', '--output=wide')),
    await part('events', () => one.kubectl('get', 'events', '--sort-by=.metadata.creationTimestamp')),
    ...(await Promise.all(
      pods.map((pod) =>
        part(`status of ${pod.metadata.name}`, async () => JSON.stringify(await one.status(pod), null, 1)),
      ),
    )),
    await part('logs', () =>
      [...one.logs.lines]
        .sort((a, b) => a.at.localeCompare(b.at))
        .map(({ at, pod, container, text }) => `${at} ${pod}/${container} ${text}`)
        .join('\n'),
    ),
  ].join('\n')
}
