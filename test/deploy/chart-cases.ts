import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { Values } from './helm.ts'
import { DEPLOY } from './manifests.ts'

/** Values of the chart, with the codes of the warnings of `check`. */
export interface Case {
  readonly values: Values
  readonly warnings?: readonly string[]
}

/** The values without a default. */
export const LEAST = { database: { secret: 'langflow-database' }, storage: { type: 'pvc' } }
const TRIAL = { database: { trial: true }, storage: { type: 'none' } }
const READINESS = { ...LEAST, traffic: 'readiness' }
const FILES_OF_ONE_POD = ['local-files']

/** The files of deploy/examples that have values of this chart, not of LangFlow's. */
const EXAMPLES = ['external-secrets.yaml', 'vault-agent.yaml']
const example = (file: string): [string, Case] => [
  `the example ${file}`,
  { values: parse(readFileSync(join(DEPLOY, 'examples', file), 'utf8')) as Values },
]

/** The values that a page of the guide proposes, in its block with `mark`, beside the `least` that it leaves out. */
function guide(page: string, mark: string, least: Values = LEAST): [string, Case] {
  const text = readFileSync(join(DEPLOY, '../docs/guide', page), 'utf8')
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, block]) => block!)
  const values = parse(blocks.find((block) => block.includes(mark))!) as Values
  return [`the values of ${page} with ${mark}`, { values: { ...least, ...values } }]
}

/** Each value of the chart is set in at least one of them. */
export const CASES: Readonly<Record<string, Case>> = {
  'the least values': { values: LEAST },
  'a trial': { values: TRIAL, warnings: FILES_OF_ONE_POD },
  'a cold standby behind fronts': { values: { ...LEAST, standby: 'cold' } },
  'three replicas in readiness mode': { values: { ...READINESS, replicas: 3, standby: 'cold' } },
  'a StatefulSet in readiness mode': { values: { ...READINESS, kind: 'StatefulSet', replicas: 3 } },
  'one Secret for everything': {
    values: { secret: { source: 'existing', name: 'own' }, storage: { type: 's3' } },
  },
  'Secrets for each purpose': {
    values: {
      database: { secret: 'database', key: 'uri' },
      storage: { type: 's3', s3: { secret: 'bucket', bucket: 'files' } },
      serviceAccount: { annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/langflow' } },
    },
  },
  'a Secret of External Secrets': {
    values: {
      secret: {
        source: 'externalSecret',
        externalSecret: { secretStoreRef: { name: 'vault' }, dataFrom: [{ extract: { key: 'langflow' } }] },
      },
      storage: { type: 's3' },
    },
  },
  'a claim of its own': {
    values: { ...LEAST, storage: { type: 'pvc', pvc: { storageClass: 'nfs', size: '1Gi' } } },
  },
  'an existing claim': { values: { ...LEAST, storage: { type: 'pvc', pvc: { existingClaim: 'files' } } } },
  'flows from Git': {
    values: {
      ...LEAST,
      flows: {
        source: 'git',
        git: {
          repository: 'https://git.example.com/team/flows',
          ref: 'production',
          path: 'langflow/flows',
          args: ['--period=30s', '--password-file=/etc/git-secret/password'],
          secret: 'git',
          resources: { limits: { cpu: '100m' } },
          image: 'registry.example.org/git-sync:v4.7.1',
        },
      },
    },
  },
  'flows from a ConfigMap, and other watched files': {
    values: {
      ...LEAST,
      flows: { source: 'configMap', configMap: 'langflow-flows' },
      extraVolumes: [{ name: 'ca', configMap: { name: 'ca' } }],
      extraVolumeMounts: [{ name: 'ca', mountPath: '/ca', readOnly: true }],
      handoverOnChange: ['/ca'],
    },
  },
  'flows from a volume, whose change waits for the next start': {
    values: { ...LEAST, flows: { source: 'pvc', pvc: 'flows', handoverOnChange: false } },
  },
  'every flag': {
    values: {
      ...LEAST,
      flags: {
        'lease-duration': '12s',
        'renew-deadline': '10900ms',
        'retry-period': '9s',
        'drain-timeout': '1m30s',
        'stop-timeout': '45s',
        'hold-timeout': '18500ms',
        'log-level': 'debug',
        'health-failures': 5,
        'busy-timeout': '1m',
        'quiet-timeout': '20s',
        'queue-wait': '5s',
      },
    },
  },
  'a release with another name, images by digest, and its place in the cluster': {
    values: {
      ...TRIAL,
      fullnameOverride: 'flows',
      reportLostPods: true,
      image: { repository: 'registry.example.org/langflow-leader', digest: `sha256:${'0'.repeat(64)}` },
      langflow: {
        image: { tag: '1.13.1', pullPolicy: 'Always' },
        command: ['langflow', 'run', '--host', '127.0.0.1', '--port', '7860', '--backend-only'],
        resources: { limits: { memory: '4Gi' } },
      },
      database: { trial: true, trialImage: 'registry.example.org/postgres:17' },
      agent: {
        env: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/ca/ca.crt' }],
        extraVolumeMounts: [{ name: 'ca', mountPath: '/ca', readOnly: true }],
        resources: { requests: { memory: '256Mi' }, limits: { memory: '512Mi' } },
      },
      install: { resources: { limits: { cpu: '100m' } } },
      extraVolumes: [{ name: 'ca', configMap: { name: 'ca' } }],
      imagePullSecrets: [{ name: 'registry' }],
      extraEnv: [
        { name: 'OPENAI_API_KEY', valueFrom: { secretKeyRef: { name: 'models', key: 'openai' } } },
        { name: 'LANGFLOW_SAVE_DB_IN_CONFIG_DIR', value: 'false' },
      ],
      commonLabels: { team: 'flows', 'cost-center': '7' },
      commonAnnotations: { owner: 'flows' },
      podLabels: { team: 'other' },
      podSecurityContext: { runAsUser: 2000, supplementalGroups: [5] },
      securityContext: { runAsNonRoot: true },
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 2, maxUnavailable: 0 } },
      podAnnotations: { 'sidecar.istio.io/inject': 'false' },
      nodeSelector: { 'kubernetes.io/os': 'linux' },
      tolerations: [{ key: 'flows', operator: 'Exists' }],
      affinity: { podAntiAffinity: {} },
      priorityClassName: 'system-cluster-critical',
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway' },
      ],
    },
    warnings: FILES_OF_ONE_POD,
  },
  'more containers and variables': {
    values: {
      ...LEAST,
      envFrom: [{ configMapRef: { name: 'settings' } }],
      extraContainers: [container('metrics')],
      extraInitContainers: [{ ...container('proxy'), restartPolicy: 'Always' }],
    },
  },
  'clients from outside of the cluster': {
    values: {
      ...LEAST,
      service: {
        type: 'LoadBalancer',
        port: 80,
        nodePort: 30_080,
        loadBalancerClass: 'example.org/internal',
        loadBalancerSourceRanges: ['10.1.0.0/16'],
        externalTrafficPolicy: 'Local',
        labels: { a: 'b' },
        annotations: { a: 'b' },
        ipFamilyPolicy: 'PreferDualStack',
      },
      ingress: {
        enabled: true,
        className: 'nginx',
        hosts: [
          { host: 'flows.example.com' },
          { host: 'api.example.com', paths: [{ path: '/api' }, { path: '/health', pathType: 'Exact' }] },
        ],
        tls: [{ secretName: 'tls', hosts: ['flows.example.com'] }],
        annotations: { a: 'b' },
      },
      gateway: {
        enabled: true,
        parentRefs: [{ name: 'public', namespace: 'gateway' }],
        hostnames: ['flows.example.com'],
        annotations: { a: 'b' },
        filters: [{ type: 'RequestHeaderModifier', requestHeaderModifier: { remove: ['x-debug'] } }],
        timeouts: { request: '10m' },
      },
      networkPolicy: {
        clients: { podLabels: { team: 'flows' }, namespaces: ['ingress-nginx'], ipBlocks: ['10.1.0.0/16'] },
        monitoring: { namespaces: ['prometheus'] },
      },
    },
  },
  'no NetworkPolicy and no budget': {
    values: { ...LEAST, networkPolicy: { enabled: false }, podDisruptionBudget: false },
  },
  'monitoring by ConfigMaps': { values: { ...LEAST, monitoring: { rules: 'ConfigMap', dashboard: true } } },
  'monitoring by the Prometheus Operator': {
    values: {
      ...LEAST,
      monitoring: {
        annotations: false,
        podMonitor: true,
        rules: 'PrometheusRule',
        runbooks: 'https://wiki/x',
        labels: { release: 'prometheus' },
      },
    },
  },
  'a drill and operators': {
    values: {
      ...LEAST,
      operatorRole: true,
      drill: {
        enabled: true,
        schedule: '0 6 * * 1',
        timeZone: 'Europe/Berlin',
        secret: 'drill',
        env: [{ name: 'LEADER_RTO', value: '10s' }],
      },
    },
  },
  'Argo CD, whose Lease the agents make': {
    values: { ...LEAST, secret: { source: 'existing' }, lease: { create: false } },
    warnings: ['lease-object'],
  },
  'an account and rights that another team makes': {
    values: { ...LEAST, serviceAccount: { create: false, name: 'default' }, rbac: { create: false } },
  },
  'Istio without sidecars': { values: { ...LEAST, mesh: 'ambient' } },
  Linkerd: { values: { ...LEAST, mesh: 'linkerd', apiServer: 'fd00::1' } },
  OpenShift: { values: { ...TRIAL, openshift: true }, warnings: FILES_OF_ONE_POD },
  ...Object.fromEntries([
    ...EXAMPLES.map(example),
    guide('install.md', '# langflow-values.yaml'),
    guide('platforms.md', 'mesh: istio'),
    guide('state.md', 'PGPASSWORD', { storage: { type: 's3', s3: { bucket: 'files' } } }),
  ]),
}

function container(name: string) {
  return {
    name,
    image: 'registry.example.org/proxy:1',
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
  }
}
