// What was there: every instance has its own clock, so every instance mails.
@Injectable()
export class ExportService {
  constructor(private readonly orders: OrdersService, private readonly mailer: Mailer) {}

  @Cron('0 1 * * *', { timeZone: 'Europe/Amsterdam' })
  async exportOrders() {
    const csv = await this.orders.exportNew();
    await this.mailer.send(csv);
  }
}
