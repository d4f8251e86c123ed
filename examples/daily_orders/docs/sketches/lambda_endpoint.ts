// The function that is called by the platform's timer.
export const handler = async () => {
  const answer = await fetch(process.env.EXPORT_URL!, {
    method: 'POST',
    headers: { Authorization: `Bearer ${process.env.EXPORT_TOKEN}` },
  });
  if (!answer.ok) {
    throw new Error(`export was answered with ${answer.status}`);
  }
};

// The endpoint: one instance gets the call, and mails. A call that is sent again mails again.
@Controller('exports')
export class ExportController {
  constructor(private readonly orders: OrdersService, private readonly mailer: Mailer) {}

  @Post()
  @UseGuards(TokenGuard)
  @HttpCode(202)
  async exportOrders() {
    const csv = await this.orders.exportNew();
    await this.mailer.send(csv);
  }
}

// Its timer, in the platform's own language:
//   resource "aws_cloudwatch_event_rule" … resource "aws_cloudwatch_event_target" …
//   resource "aws_lambda_function" … resource "aws_lambda_permission" … resource "aws_iam_role" …
