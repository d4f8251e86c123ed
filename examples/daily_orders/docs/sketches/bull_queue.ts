// The module: a connection to Redis for every instance.
@Module({
  imports: [
    BullModule.forRoot({
      redis: {
        host: process.env.REDIS_HOST,
        port: Number(process.env.REDIS_PORT),
        password: process.env.REDIS_PASSWORD,
      } as RedisOptions,
    }),
    BullModule.registerQueue({ name: 'export' }),
  ],
  providers: [ExportScheduler, ExportProcessor],
})
export class ExportModule {}

// The repeatable job, put in place when the application starts; the old one goes if it changed.
@Injectable()
export class ExportScheduler implements OnModuleInit {
  constructor(@InjectQueue('export') private readonly queue: Queue) {}

  async onModuleInit() {
    for (const job of await this.queue.getRepeatableJobs()) {
      await this.queue.removeRepeatableByKey(job.key);
    }
    await this.queue.add('daily', {}, {
      repeat: { cron: '0 1 * * *', tz: 'Europe/Amsterdam' },
      attempts: 1,
    });
  }
}

// The worker. A job that stalls is given to another instance, which mails again.
@Processor('export')
export class ExportProcessor {
  constructor(private readonly orders: OrdersService, private readonly mailer: Mailer) {}

  @Process('daily')
  async exportOrders() {
    const csv = await this.orders.exportNew();
    await this.mailer.send(csv);
  }
}
